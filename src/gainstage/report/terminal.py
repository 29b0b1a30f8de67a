"""What a terminal can show: characters that its encoding has, and lines that fit its width."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from gainstage.report.wording import printable

_ASCII = {
    "·": "-", "–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "→": "->", "≤": "<=", "≥": ">=", "≈": "~",
    "√": "sqrt ", "∞": "inf", "²": "^2", "₁": "1", "σ": "sigma", "χ": "chi", "ξ": "xi", "λ": "lambda",
    "ε": "eps", "γ": "gamma", "β": "beta", "φ": "phi", "π": "pi", "∂": "d", "‖": "||", "½": "1/2", "ö": "oe",
}  # fmt: skip
_BLOCKS = "▏▎▍▌▋▊▉█"


class Terminal:
    """Prints lines of `Text` on a rich console; nothing that it is given is read as markup."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.width = console.width
        self.blocks = _can_encode(_BLOCKS, console.encoding)

    def text(self, text: str, style: str = "") -> Text:
        """``text`` as this terminal can show it: on one line, without control characters."""
        return Text(_encodable(printable(text), self.console.encoding), style=style)

    def line(self, *parts: tuple[str, str], indent: int = 0) -> None:
        """Prints parts (text, style), wrapped to the width with the indent kept."""
        whole = Text()
        for text, style in parts:
            whole.append_text(self.text(text, style))
        for row in whole.wrap(self.console, max(20, self.width - indent), overflow="fold"):
            row.rstrip()
            self.raw(Text(" " * indent).append_text(row))

    def labelled(self, label: str, text: str, *, indent: int, style: str = "") -> None:
        """Prints a text with a label in the margin before its first line; nothing for an empty text."""
        margin = indent + 6
        body = self.text(text, style).wrap(self.console, max(20, self.width - margin), overflow="fold")
        for number, row in enumerate(body if text else ()):
            row.rstrip()
            head = Text(" " * indent).append(f"{label if number == 0 else '':<6}", style="dim")
            self.raw(head.append_text(row))

    def raw(self, line: Text | str = "") -> None:
        """Prints one finished line; the console neither wraps nor crops it."""
        self.console.print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)

    def bar(self, share: float, width: int) -> str:
        """A horizontal bar that fills ``share`` of ``width`` columns, in eighths where blocks can be shown."""
        if not self.blocks:
            return ("#" * round(share * width)).ljust(width)
        eighths = round(share * width * 8)
        if share > 0:
            eighths = max(1, eighths)
        full, rest = divmod(eighths, 8)
        return ("█" * full + (_BLOCKS[rest - 1] if rest else "")).ljust(width)


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (LookupError, UnicodeError):
        return False
    return True


def _encodable(text: str, encoding: str) -> str:
    """``text`` with whatever the encoding lacks transliterated, or spelled out."""
    if _can_encode(text, encoding):
        return text
    return "".join(
        character
        if _can_encode(character, encoding)
        else _ASCII.get(character, character.encode("ascii", "backslashreplace").decode("ascii"))
        for character in text
    )
