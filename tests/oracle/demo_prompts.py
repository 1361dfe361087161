"""The text and the chats on which the demo model's references are made."""

from __future__ import annotations

# More than 256 tokens: the script takes the first 256. Prose, numbers, code, other scripts and an odd line, so that
# common and rare tokens both occur.
TEXT = """The lighthouse keeper wound the clock at six, as he had every evening for thirty-one years, and climbed the
214 steps with a lamp in one hand and the logbook under his arm. Wind from the north-west, 17 knots; sea moderate;
visibility good. He wrote it down slowly. Below, the harbour was turning on its lights one by one.

"Why do you still do it by hand?" his niece asked. She had come for the summer with a laptop and a box of oranges.
"The machine sends the report anyway."

He thought about it. "A number that you have written yourself is a number that you have looked at," he said.

That night she wrote a small program:

    def beaufort(knots: float) -> int:
        limits = [1, 4, 7, 11, 17, 22, 28, 34, 41, 48, 56, 64]
        return sum(knots >= limit for limit in limits)

It agreed with his table in every row but one, and there the table was wrong. In the margin someone had corrected it in
1958: « à vérifier », then, in another hand, проверено, and below that 確認済み. They laughed until the kettle boiled.
In the morning the fog came in, and the horn sounded every forty seconds, and nobody spoke of machines at all.
"""

# Chosen among some twenty for being clearly decided: at each step the best token leads the next by more than
# LEAST_LEAD, which neither float32's rounding nor that of keys and values to F16 makes up for. With and without a
# system message, one turn and several, prose, code and other scripts, ended by the model and by the length.
CHATS = [
    [{"role": "user", "content": "What is gravity?"}],
    [{"role": "user", "content": "Write a Python function that returns the sum of a list."}],
    [
        {"role": "system", "content": "You are a careful teacher."},
        {"role": "user", "content": "Count from one to twenty."},
    ],
    [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello! How can I help you today?"},
        {"role": "user", "content": "Write a loop in Python that prints the numbers from 1 to 10."},
    ],
    [{"role": "user", "content": "Repeat after me: été, naïve, 東京, привет, 🙂"}],
]
LEAST_LEAD = 0.1
