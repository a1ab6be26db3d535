"""Do matched points of two frames lie on each other's epipolar lines? The Sampson error of a video, without weights.

After Epipolar-DPO (arXiv 2510.21615; research/reward3d.md 3f): SIFT, Lowe's ratio 0.75, at least 20 matches, one
fundamental matrix a pair, the mean square root of the Sampson distance in pixels. Ours are the pairs, the robust fit
and the cap.

**Pairs**: all (i, i + gap) with gap a quarter of the clip, as in `scene.residual_motion`. Neighbouring frames are
left out: over so short a baseline any matrix fits, whatever was filmed.

**Cap**: the matrix is fitted robustly (RANSAC, then the eight-point fit of its inliers), but the mean is over *all*
matches, each counted as at most `CAP_SHARE` of the image's diagonal. The inliers alone would make every video look
perfect, and leaving far matches out would drop what is warped most; but one false match, which clean videos have too,
must not count like a whole frame. Measured on 29 mini clips of 128 x 208 (17 frames, half of them with repeated
patterns): medians 0.33 px clean, 0.75 px under smooth warps of 1.2 px rms, 1.25 px under those of 5.2 px (where 20
still had matches), and in that order for every clip.

**What it cannot see**: displacements along the epipolar lines, colours that change, and everything where nothing
matches. Points of a still video, of a camera that only turns, or of a single plane fit a homography; then many
fundamental matrices fit, the error is small by construction, and the result is marked `degenerate`. Repeated patterns
bring false matches, which raise the error of a clean video.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldr1.errors import InputError

LOWE_RATIO = 0.75
MIN_MATCHES = 20
MAX_FEATURES = 1000
"""Strongest SIFT points of a frame; bounds the time of richly textured and large frames."""
INLIER_PX = 1.0
"""Of the robust fits."""
CONFIDENCE, MAX_DRAWS = 0.999, 1000
CAP_SHARE = 0.02
"""Of the diagonal: 4.9 px at 128 x 208, 9.8 px at 256 x 416."""
CONTRAST = 0.01
"""SIFT's contrast threshold; the default 0.04 leaves out up to half of a softly textured frame's points."""
HOMOGRAPHY_SHARE = 0.9
"""A pair is degenerate if a homography explains this share of what its fundamental matrix explains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpipolarError:
    """The Sampson error of a video."""

    error_px: float
    """Mean over the pairs of the mean over their matches; grows with the resolution."""
    num_pairs: int
    """Pairs of frames with enough matches."""
    num_matches: int
    """In all of them."""
    degenerate: bool
    """Most pairs fit a homography: `error_px` says little (still video, turning camera, one plane)."""


@dataclass(frozen=True, slots=True)
class _Features:
    points: np.ndarray
    descriptors: np.ndarray


@dataclass(frozen=True, slots=True)
class _Pair:
    distances: Tensor
    degenerate: bool


def epipolar_error(video: Float[Tensor, "T 3 H W"], *, mask: Bool[Tensor, "H W"] | None = None) -> EpipolarError | None:
    """The Sampson error of a video in 0..1. mask: False where an overlay lies (a logo, a caption); all by default.

    None if fewer than half of the pairs have `MIN_MATCHES` matches (blank, blurred, noise, unrelated frames). The same
    video gives the same numbers: OpenCV's RANSAC seeds itself anew at every call. No setting of OpenCV is touched;
    it uses as many threads as its own default says.
    Raises InputError for fewer than two frames or a mask of another size.
    """
    if len(video) < 2:
        raise InputError("The epipolar error compares frames; give a video of at least 2.")
    if mask is not None and tuple(mask.shape) != tuple(video.shape[-2:]):
        raise InputError(f"A mask of shape {tuple(mask.shape)} does not match a video of shape {tuple(video.shape)}.")
    features = _find_features(video, mask)
    cap_px = CAP_SHARE * math.hypot(*video.shape[-2:])
    gap = max(1, (len(video) - 1) // 4)
    asked = list(zip(features, features[gap:], strict=False))
    pairs = [pair for first, second in asked if (pair := _compare(first, second, cap_px)) is not None]
    if 2 * len(pairs) < len(asked):
        return None
    return EpipolarError(
        error_px=float(torch.stack([pair.distances.mean() for pair in pairs]).mean()),
        num_pairs=len(pairs),
        num_matches=sum(len(pair.distances) for pair in pairs),
        degenerate=2 * sum(pair.degenerate for pair in pairs) > len(pairs),
    )


def sampson_px(
    first: Float[Tensor, "N 2"], second: Float[Tensor, "N 2"], fundamental: Float[Tensor, "3 3"]
) -> Float[Tensor, " N"]:
    """Square root of the Sampson distance: |x'^T F x| over the norm of its gradient by the four coordinates.

    To first order how far, in the space of both points together, a match lies from one that fits `fundamental`
    exactly (second^T F first = 0). A point that lies off its line by n in one image only, between images of equal
    scale, has n / sqrt(2). Hartley and Zisserman, Multiple View Geometry, section 11.4.3.
    """
    one = first.new_ones(len(first), 1)
    first_N3, second_N3 = torch.cat((first, one), 1), torch.cat((second, one), 1)
    lines_N3, back_N3 = first_N3 @ fundamental.mT, second_N3 @ fundamental
    slope = (lines_N3[:, :2].square() + back_N3[:, :2].square()).sum(1).sqrt()
    return (second_N3 * lines_N3).sum(1).abs() / slope.clamp(min=torch.finfo(slope.dtype).tiny)


def _find_features(video: Float[Tensor, "T 3 H W"], mask: Bool[Tensor, "H W"] | None) -> list[_Features]:
    sift = cv2.SIFT.create(nfeatures=MAX_FEATURES, contrastThreshold=CONTRAST)
    allowed = None if mask is None else mask.cpu().numpy().astype(np.uint8)
    frames = (video.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    found = []
    for frame in frames:
        keypoints, descriptors = sift.detectAndCompute(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), allowed)
        points = np.array([keypoint.pt for keypoint in keypoints]).reshape(-1, 2)
        found.append(_Features(points, descriptors if keypoints else np.zeros((0, 128), np.float32)))
    return found


def _compare(first: _Features, second: _Features, cap_px: float) -> _Pair | None:
    """Capped distances of a pair's matches; None if there are too few."""
    points_a, points_b = _match(first, second)
    fundamental = _fit_fundamental(points_a, points_b) if len(points_a) >= MIN_MATCHES else None
    if fundamental is None:
        return None
    distances = sampson_px(*(torch.from_numpy(x) for x in (points_a, points_b, fundamental)))
    explained = int((distances <= INLIER_PX).sum())
    degenerate = _fit_homography(points_a, points_b) >= HOMOGRAPHY_SHARE * explained
    return _Pair(distances.clamp(max=cap_px), degenerate)


def _match(first: _Features, second: _Features) -> tuple[np.ndarray, np.ndarray]:
    """Points of mutual nearest neighbours that pass Lowe's test both ways, float64 [N, 2] each."""
    if min(len(first.points), len(second.points)) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    forth, back = _nearest(first.descriptors, second.descriptors), _nearest(second.descriptors, first.descriptors)
    pairs = [(a, b) for a, b in forth.items() if back.get(b) == a]
    index = np.array(pairs, dtype=int).reshape(-1, 2)
    return first.points[index[:, 0]], second.points[index[:, 1]]


def _nearest(queries: np.ndarray, others: np.ndarray) -> dict[int, int]:
    matches: Sequence[Sequence[cv2.DMatch]] = cv2.BFMatcher(cv2.NORM_L2).knnMatch(queries, others, k=2)
    return {m.queryIdx: m.trainIdx for m, n in matches if m.distance < LOWE_RATIO * n.distance}


def _fit_fundamental(points_a: np.ndarray, points_b: np.ndarray) -> np.ndarray | None:
    """Of seven points by RANSAC, then of all its inliers where they determine one."""
    fit, inliers = cv2.findFundamentalMat(points_a, points_b, cv2.FM_RANSAC, INLIER_PX, CONFIDENCE, MAX_DRAWS)
    if fit is None or fit.shape != (3, 3):
        return None
    chosen = inliers.ravel() > 0
    refined, _ = cv2.findFundamentalMat(points_a[chosen], points_b[chosen], cv2.FM_8POINT)
    return fit if refined is None or refined.shape != (3, 3) else refined


def _fit_homography(points_a: np.ndarray, points_b: np.ndarray) -> int:
    """How many matches a homography explains."""
    _, inliers = cv2.findHomography(points_a, points_b, cv2.RANSAC, INLIER_PX, None, MAX_DRAWS, CONFIDENCE)
    return 0 if inliers is None else int(np.count_nonzero(inliers))
