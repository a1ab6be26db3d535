"""The packaged adapter's videos beside the base model's: python examples/before_after.py OUT.png [NNN ...]

Draws five frames of each of the shipped run's kept videos (or of those numbered NNN): above before training, below
after it, from the same prompt and start noise.
"""

import sys

import torch
from PIL import Image

from worldr1.evaluate.records import Evaluation
from worldr1.shipped import shipped_adapter
from worldr1.video_io import read_mp4

home = shipped_adapter().parent
kept = [record for record in Evaluation.load(home / "before").records if record.video]
wanted = sys.argv[2:] or [record.video.removesuffix(".mp4") for record in kept if record.video]
rows = []
for record in kept:
    if record.video and record.video.removesuffix(".mp4") in wanted:
        print(record.video, record.prompt)
        pair = [read_mp4(home / side / record.video) for side in ("before", "after")]
        rows += [torch.cat(list(video[:: (len(video) - 1) // 4]), -1) for video in pair]
        rows.append(torch.ones(3, 16, rows[-1].shape[-1]))
sheet = (torch.cat(rows[:-1], -2).permute(1, 2, 0) * 255).round().to(torch.uint8)
picture = Image.fromarray(sheet.numpy())
picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX).save(sys.argv[1])
