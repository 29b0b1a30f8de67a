"""How the cells of a sweep are computed: many at once where that is possible and pays, else one by one."""
