"""Ctrl-C does not wait for a long step, and the model is as good as new after it."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

from inferno.models import load_model
from tiny import write_tiny

# On the scalar tier this step takes seconds, and none of its operations more than a fraction of one.
SHAPE = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 24, "max_position_embeddings": 1024}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_signal_ends_a_step_between_operations(tmp_path, threads):
    folder = write_tiny(tmp_path / "slow", SHAPE)
    model = load_model(folder, ctx_size=1024, threads=threads, isa="scalar")
    sequence = model.new_sequence()
    before = model.forward(sequence, [1, 2, 3], "all")
    assert model.program.regions == 1  # a short step is one parallel region, and meets Python never
    sequence.release()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        model.forward(sequence, np.ones(1000, np.int32))
    timer.join()
    assert sequence.length == 0
    assert model.program.regions >= 1
    # the step did not come to its end: its logits are still those of the step before
    np.testing.assert_array_equal(model.program.read("logits")[0], before[0])
    np.testing.assert_array_equal(model.forward(sequence, [1, 2, 3], "all"), before)
