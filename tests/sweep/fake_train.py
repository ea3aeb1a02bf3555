"""Stands for `electrojax train FILE --resume auto` where only how processes live and die matters.

It counts epochs into metrics.jsonl, keeps the count as its checkpoint, resumes from it, holds the
run folder as a real run does, and ends as its seed says: 13 fails, 14 is killed in every attempt,
15 in the first alone. Every process writes its begin and end to ``journal`` beside the run folders.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml

FAILING, KILLED, KILLED_ONCE = 13, 14, 15
PAUSE = 0.05


class Fake:
    def __init__(self, file: Path) -> None:
        config = yaml.safe_load(file.read_text())
        self.folder = Path(config["run"]["dir"]) / config["run"]["name"]
        self.seed, self.stage = config["run"]["seed"], config["train"]["stages"][0]
        self.stopping = False
        signal.signal(signal.SIGTERM, lambda number, frame: setattr(self, "stopping", True))

    def journal(self, event: str) -> None:
        line = f"{event} {self.folder.name} {os.getpid()} {self.epoch}\n"
        with (self.folder.parent / "journal").open("a") as file:
            file.write(line)

    @property
    def epoch(self) -> int:
        path = self.folder / "epochs"
        return int(path.read_text()) if path.exists() else 0

    def write(self, record: dict) -> None:
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def run(self) -> int:
        first = not (self.folder / "epochs").exists()
        self.journal("begin")
        while self.epoch < self.stage["epochs"]:
            time.sleep(PAUSE)
            epoch = self.epoch + 1
            loss = abs(self.stage["learning_rate"] - 0.01) + 0.1 / epoch
            self.write({"epoch": epoch, "stage": "only", "valid/loss": loss})
            # Whole or not at all: it is killed at any time.
            (self.folder / "epochs.new").write_text(str(epoch))
            os.replace(self.folder / "epochs.new", self.folder / "epochs")
            if self.seed == KILLED or (self.seed == KILLED_ONCE and first):
                os.kill(os.getpid(), signal.SIGKILL)
            if self.stopping:
                self.journal("stop")
                return 130
        if self.seed == FAILING:
            print("error: epoch 3: the loss is not a finite number", file=sys.stderr)
            return 3
        self.write({"final": True, "epoch": self.epoch, "test/forces_rmse": 50.0 + self.seed})
        self.journal("end")
        return 0


if __name__ == "__main__":
    raise SystemExit(Fake(Path(sys.argv[-1])).run())
