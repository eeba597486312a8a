"""Frames moved and warped at random, for networks to learn what does not change a class.

A teacher answers any of them, so that few labelled frames ask for as many answers as there are
batches.
"""
# pyright: basic, reportMissingImports=false
# Where PyTorch is installed, its modules have members of any type.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportOptionalMemberAccess=false

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .straight import rounded


def shifted(x: Tensor, most: int, rng: torch.Generator) -> Tensor:
    """Move each frame (N, H, W, C) by whole pixels, up to `most`, along axes longer than that."""
    for axis in (1, 2) if most and x.ndim == 4 else ():
        size = x.shape[axis]
        if size > most:
            around = (0, 0, most, most) if axis == 2 else (0, 0, 0, 0, most, most)
            start = torch.randint(0, 2 * most + 1, (len(x), 1), generator=rng)
            places = (start + torch.arange(size)).reshape(len(x), *[1] * (axis - 1), size)
            shape = [len(x), *x.shape[1:]]
            index = places.reshape(*places.shape, *[1] * (4 - places.ndim)).expand(shape)
            x = F.pad(x, around).gather(axis, index)
    return x


def warped(x: Tensor, most: float, step: float, rng: torch.Generator) -> Tensor:
    """Turn, stretch and shear each frame (N, H, W, C) about its centre, zeros coming in.

    Each entry of the matrix is that of the identity and up to `most` more or less: 0.1 turns by up
    to 6 degrees.  Values between pixels are bilinear, then rounded to whole steps, as inputs are.
    A frame of one row or column is stretched alone.
    """
    if not most or x.ndim != 4:
        return x
    entries = most * (2 * torch.rand((len(x), 2, 2), generator=rng) - 1)
    if 1 in x.shape[1:3]:
        entries = entries * torch.eye(2)
    matrix = F.pad(torch.eye(2) + entries, (0, 1)).to(x)
    images = x.permute(0, 3, 1, 2)
    grid = F.affine_grid(matrix, images.shape, align_corners=False)
    found = F.grid_sample(images, grid, align_corners=False)
    return step * rounded(found.permute(0, 2, 3, 1) / step)
