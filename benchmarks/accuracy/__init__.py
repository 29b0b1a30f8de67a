"""How often the rules are right: networks with injected faults and their healthy twins, labelled by training both.

PYTHONPATH=benchmarks python -m accuracy STORE [--split development|test|all] [--jobs N] [--publish] [--quick]

setup.py            what is trained: network, data, loss, optimizer
development.py      architectures on which thresholds may be set
held_out.py         architectures on which the rules are judged
*_faults.py         operators that inject one fault at a severity
training.py         one training of a case and its score
labels.py           whether a mutant trains worse than its twin
checks.py           what the rules say of a case
scoring.py          precision, recall and false alarms from both
page.py             docs/accuracy.md and the figures that ship with the package

STORE keeps the scores of trainings (labels.jsonl) and the losses of trials (trials.jsonl), each with a digest of the
architecture and the operator. A change of a rule asks for neither: the checks alone run again, in a minute. Remove
trials.jsonl after a change of how a trial runs, and both after a change of how a training runs.
"""
