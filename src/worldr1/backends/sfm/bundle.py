"""Cameras and points from tracks: bundle adjustment of the first frames, then of more and more of them.

It starts from several guesses of the camera's first way (egomotion.py); a wrong one that explains the first frames as
well as the right one is found out later. On the mini world this is right in clips where COLMAP's global mapper is wrong
with confidence (docs/scoring.md). The solver is COLMAP's bundle adjuster, which is Ceres.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import pycolmap
from jaxtyping import Bool, Float

from worldr1.backends.sfm.egomotion import Egomotion, egomotions
from worldr1.backends.sfm.resect import resected
from worldr1.backends.sfm.tracks import MIN_LENGTH, Tracks

FIRST_WINDOW, SECOND_WINDOW, WINDOW_STEP = 5, 9, 4
"""Frames adjusted at first; when guesses are weeded out; and added each time."""
STARTS, FINALISTS = 4, 2
"""Guesses that are tried, and that are followed to the end."""
MIN_SHARED = 8
"""Points that two frames share for a guess between them."""
SIMILAR, SIMILAR_PX2 = 2.0, 0.1
"""A guess is followed on if its cost is at most this many times the best one's, and a little."""
SAME_RAD = 0.003
"""Two scenes whose rotations all differ less have become one."""
SCALES_PX = (1.0, 0.5, 0.3)
"""Of the Cauchy loss: while the window grows, then for two last adjustments."""
COARSE_PX = 4.0
"""Of the very first adjustment: a guess is some pixels off."""
CAPPED_PX = 2.0
"""Error from which on an observation is just wrong."""
HOPELESS = 0.6
"""Share of the highest possible cost from which on a point is left out of the last adjustments."""
BEHIND_PX = 50.0
"""Error of a point behind its camera."""
NEAR_QUANTILE = 0.2
"""Of the depths: the unit of length while a scene is adjusted."""
FAR, FARTHEST = 100.0, 1000.0
"""Such units: a point beyond the first is held where it is; none goes beyond the second."""
_ITERATIONS, _LAST_ITERATIONS = 20, 50
_NEAR = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """Cameras and points of tracks, in no particular scale. Frame 0's camera is the identity."""

    world_from_camera: Float[np.ndarray, "T 4 4"]
    points: Float[np.ndarray, "N 3"]
    focal_px: float
    errors_px: Float[np.ndarray, " O"]
    """Of every observation; BEHIND_PX where its point is behind the camera."""

    @property
    def cost_px2(self) -> float:
        """Mean squared error, each capped."""
        return float(np.mean(np.minimum(self.errors_px, CAPPED_PX) ** 2)) if len(self.errors_px) else CAPPED_PX**2


def solve(tracks: Tracks, focal_px: float) -> Structure:
    """The best that the guesses of the camera's first way lead to.

    Few frames do not tell a way to the side from a turn; so wrong guesses are dropped late, and those that have become
    the same scene are followed once.
    """
    scenes = [_started(tracks, focal_px, guess) for guess in _guesses(tracks, focal_px)]
    scenes = _most_likely(scenes, min(FIRST_WINDOW, tracks.num_frames), STARTS)
    early = min(SECOND_WINDOW, tracks.num_frames)
    for scene in scenes:
        _grow(scene, FIRST_WINDOW, early)
    scenes = _most_likely(scenes, early, FINALISTS)
    for scene in scenes:
        _grow(scene, early, tracks.num_frames)
        _polish(scene)
    return min((scene.structure() for scene in scenes), key=lambda found: found.cost_px2)


def refined(tracks: Tracks, world_from_camera: Float[np.ndarray, "T 4 4"], focal_px: float) -> Structure:
    """Adjusted from given cameras; the tracks need not be those that gave the cameras."""
    scene = _Scene(tracks, focal_px)
    scene.poses = world_from_camera.copy()
    scene.points = scene.triangulated(tracks.num_frames)
    for scale in SCALES_PX:
        scene.adjust(tracks.num_frames, scale)
        scene.improve_points(tracks.num_frames)
    return scene.structure()


def _guesses(tracks: Tracks, focal_px: float) -> list[Egomotion]:
    """What the camera may have done from one frame to the next at first: seen over the first window, or over less of it
    where few points last so long. Standing still, if nothing is seen twice."""
    begun = tracks.places(0)
    for frame in range(FIRST_WINDOW - 1, 0, -1):
        ended = tracks.places(frame)
        both = np.isfinite(begun[:, 0]) & np.isfinite(ended[:, 0])
        if both.sum() >= MIN_SHARED or (frame == 1 and both.any()):
            centre = (tracks.width / 2, tracks.height / 2)
            rays, flow = (begun[both] - centre) / focal_px, (ended[both] - begun[both]) / focal_px
            return [
                Egomotion(rotation_vector=guess.rotation_vector / frame, direction=guess.direction / frame)
                for guess in egomotions(rays, flow, 1 / focal_px, STARTS)
            ]
    return [Egomotion(rotation_vector=np.zeros(3), direction=np.zeros(3))]


def _started(tracks: Tracks, focal_px: float, guess: Egomotion) -> "_Scene":
    """The first window, adjusted."""
    scene = _Scene(tracks, focal_px)
    scene.go(guess)
    for scale in (COARSE_PX, SCALES_PX[0]):
        scene.adjust(FIRST_WINDOW, scale)
        scene.improve_points(FIRST_WINDOW)
    return scene


def _most_likely(scenes: list["_Scene"], window: int, num: int) -> list["_Scene"]:
    """Up to `num` scenes that explain the first frames about as well as the best one, each in its own way."""
    ranked = sorted(scenes, key=lambda scene: scene.cost_px2(window))
    limit = SIMILAR * ranked[0].cost_px2(window) + SIMILAR_PX2
    chosen: list[_Scene] = []
    for scene in ranked:
        known = any(np.allclose(scene.poses[:, :3, :3], other.poses[:, :3, :3], atol=SAME_RAD) for other in chosen)
        if len(chosen) < num and not known and scene.cost_px2(window) <= limit:
            chosen.append(scene)
    return chosen


def _grow(scene: "_Scene", window: int, until: int) -> None:
    """Frames added, a few at a time."""
    while window < until:
        wider = min(window + WINDOW_STEP, until)
        for frame in range(window, wider):
            scene.resect(frame)
            scene.improve_points(frame + 1)
        window = wider
        scene.adjust(window, SCALES_PX[0])
        scene.improve_points(window)


def _polish(scene: "_Scene") -> None:
    for scale in SCALES_PX[1:]:
        scene.adjust(scene.tracks.num_frames, scale)
        scene.improve_points(scene.tracks.num_frames)


class _Scene:
    """Cameras and points while they are adjusted; the first `window` frames are in play."""

    def __init__(self, tracks: Tracks, focal_px: float) -> None:
        self.tracks = tracks
        self.focal_px = focal_px
        self.poses = np.tile(np.eye(4), (tracks.num_frames, 1, 1))
        self.points = np.zeros((tracks.num, 3))
        _, first = np.unique(tracks.track, return_index=True)
        self.first_frame = tracks.frame[first]

    def structure(self) -> Structure:
        return Structure(
            world_from_camera=self.poses,
            points=self.points,
            focal_px=self.focal_px,
            errors_px=self._errors(self.points, self.tracks.num_frames),
        )

    def cost_px2(self, window: int) -> float:
        """Mean squared error of the first frames, each capped."""
        errors = self._errors(self.points, window)
        return float(np.mean(np.minimum(errors, CAPPED_PX) ** 2)) if len(errors) else CAPPED_PX**2

    def go(self, guess: Egomotion) -> None:
        """Lead the first window's cameras along a guess, at constant velocity, and find the points from there. The
        cameras after it wait at its end."""
        for frame in range(len(self.poses)):
            steps = min(frame, FIRST_WINDOW - 1)
            self.poses[frame, :3, :3] = cv2.Rodrigues(steps * guess.rotation_vector)[0]
            self.poses[frame, :3, 3] = steps * guess.direction
        self.points = self.triangulated(FIRST_WINDOW)

    def resect(self, frame: int) -> None:
        """The camera of one more frame, from points that the frames before it know; it starts where the camera would
        be if it went on as before, and where it was."""
        before = self.tracks.frame < frame
        known = np.bincount(self.tracks.track[before], minlength=self.tracks.num) >= 2
        rows = np.flatnonzero((self.tracks.frame == frame) & known[self.tracks.track])
        points, rays = self.points[self.tracks.track[rows]], self._rays(self.tracks.xy[rows])[:, :2]
        last, step = self.poses[frame - 1], np.linalg.inv(self.poses[frame - 2]) @ self.poses[frame - 1]
        ways = [resected(points, rays, start, self.focal_px) for start in (last @ step, last)]
        self.poses[frame:] = min(ways, key=lambda way: way[1])[0]

    def rescale(self, window: int) -> None:
        """Make the near points' depth one: far from it, the solver runs out of digits. What is infinitely far comes
        back, and to the front."""
        _, depths = self._projected(self.points, window)
        unit = max(float(np.quantile(np.abs(depths), NEAR_QUANTILE)), _NEAR)
        self.points /= unit
        self.poses[:, :3, 3] /= unit
        distance = np.linalg.norm(self.points, axis=1, keepdims=True)
        self.points *= np.minimum(1, FARTHEST / np.maximum(distance, _NEAR))
        self.points = self._faced(self.points)

    def _faced(self, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Points with those far behind their first cameras taken to the other side: no error tells the sides apart."""
        first = np.linalg.inv(self.poses)[self.first_frame]
        behind = np.einsum("ni,ni->n", first[:, 2, :3], points) + first[:, 2, 3] < 0
        return np.where((behind & (np.linalg.norm(points, axis=1) > FAR))[:, None], -points, points)

    def turn_round(self, window: int) -> None:
        """Points and cameras through the first camera's centre, if that explains more: the picture is the same, and
        only one of the two scenes is in front."""
        before, poses, points = self.cost_px2(window), self.poses.copy(), self.points
        self.poses[:, :3, 3] *= -1
        self.points = self._faced(-points)
        if self.cost_px2(window) >= before:
            self.poses, self.points = poses, points

    def improve_points(self, window: int) -> None:
        """Points triangulated anew where that explains their observations better."""
        again = self.triangulated(window)
        better = self._point_costs(again, window) < self._point_costs(self.points, window)
        self.points[better] = again[better]

    def triangulated(self, window: int) -> Float[np.ndarray, "N 3"]:
        """The linear solution for every point; where there is none, some point."""
        seen = self.tracks.frame < window
        track, rays = self.tracks.track[seen], self._rays(self.tracks.xy[seen])
        cameras = np.linalg.inv(self.poses)[self.tracks.frame[seen], :3]
        rows = rays[:, :2, None] * cameras[:, 2:3] - cameras[:, :2]
        normal = np.zeros((self.tracks.num, 4, 4))
        np.add.at(normal, track, np.einsum("nki,nkj->nij", rows, rows))
        solutions = np.linalg.eigh(normal)[1][..., 0]
        farthest = np.linalg.norm(solutions[:, :3], axis=1) / FARTHEST
        weights = np.where(np.abs(solutions[:, 3]) < farthest, np.copysign(farthest, solutions[:, 3]), solutions[:, 3])
        return self._faced(solutions[:, :3] / np.where(weights == 0, 1.0, weights)[:, None])

    def adjust(self, window: int, scale_px: float) -> None:
        """One bundle adjustment of the window, in place."""
        seen = self.tracks.frame < window
        lengths = np.bincount(self.tracks.track[seen], minlength=self.tracks.num)
        seen &= lengths[self.tracks.track] >= MIN_LENGTH
        if not seen.any():
            return
        self.rescale(window)
        self.turn_round(window)
        seen &= ~self._hopeless(window, late=scale_px < SCALES_PX[0])[self.tracks.track]
        if not seen.any():
            return
        scene, names = self._as_colmap(window, seen)
        config = pycolmap.BundleAdjustmentConfig()
        for image in scene.images:
            config.add_image(image)
        held = np.linalg.norm(self.points, axis=1) > FAR
        held[self._anchor(names, held, window)] = True
        for track, name in names.items():
            if held[track]:
                config.add_constant_point(name)
            else:
                config.add_variable_point(name)
        config.set_constant_rig_from_world_pose(scene.images[1].frame_id)
        pycolmap.create_default_bundle_adjuster(_options(scale_px), config, scene).solve()
        for frame in range(1, window):
            found = np.vstack((scene.images[frame + 1].cam_from_world().matrix(), (0, 0, 0, 1)))
            self.poses[frame] = np.linalg.inv(found)
        for track, name in names.items():
            self.points[track] = scene.points3D[name].xyz
        self.turn_round(window)

    def _hopeless(self, window: int, *, late: bool) -> Bool[np.ndarray, " N"]:
        """Points behind their cameras; late, when the cameras are known, also those that move on their own: they would
        take up the solver's time and hide from it how little is left to gain."""
        in_play = self.tracks.track[self.tracks.frame < window]
        lengths = np.maximum(np.bincount(in_play, minlength=self.tracks.num), 1)
        behind = self._projected(self.points, window)[1] <= _NEAR
        out = np.bincount(in_play, behind, minlength=self.tracks.num) > lengths / 2
        if late:
            out |= self._point_costs(self.points, window) / lengths > HOPELESS * CAPPED_PX**2
        return out

    def _anchor(self, names: dict[int, int], far: Bool[np.ndarray, " N"], window: int) -> int:
        """A near point that is seen long and well. Held, it keeps the scale, which nothing else does: the scene would
        shrink to nothing before points that are infinitely far."""
        seen = self.tracks.frame < window
        capped = np.minimum(self._errors(self.points, window), CAPPED_PX)
        gain = np.bincount(self.tracks.track[seen], CAPPED_PX - capped, minlength=self.tracks.num)
        gain[far] = -1
        chosen = np.array(list(names))
        return int(chosen[np.argmax(gain[chosen])])

    def _as_colmap(self, window: int, seen: Bool[np.ndarray, " O"]) -> tuple[pycolmap.Reconstruction, dict[int, int]]:
        """The window as COLMAP holds it (image ids are frames + 1), and the point id of every track in it."""
        scene = pycolmap.Reconstruction()
        size = (self.tracks.width, self.tracks.height)
        camera = pycolmap.Camera.create_from_model_id(1, pycolmap.CameraModelId.SIMPLE_PINHOLE, self.focal_px, *size)
        scene.add_camera_with_trivial_rig(camera)
        cameras_from_world = np.linalg.inv(self.poses)
        place = np.zeros(len(self.tracks.frame), int)
        for frame in range(window):
            (rows,) = np.nonzero(seen & (self.tracks.frame == frame))
            place[rows] = np.arange(len(rows))
            image = pycolmap.Image(name=str(frame), keypoints=self.tracks.xy[rows], camera_id=1, image_id=frame + 1)
            scene.add_image_with_trivial_frame(image, pycolmap.Rigid3d(cameras_from_world[frame, :3]))
        tracks: dict[int, pycolmap.Track] = {}
        for row in np.flatnonzero(seen):
            track = tracks.setdefault(int(self.tracks.track[row]), pycolmap.Track())
            track.add_element(int(self.tracks.frame[row]) + 1, int(place[row]))
        return scene, {n: scene.add_point3D(self.points[n], track) for n, track in tracks.items()}

    def _point_costs(self, points: Float[np.ndarray, "N 3"], window: int) -> Float[np.ndarray, " N"]:
        seen = self.tracks.frame < window
        capped = np.minimum(self._errors(points, window), CAPPED_PX) ** 2
        return np.bincount(self.tracks.track[seen], capped, minlength=self.tracks.num)

    def _errors(self, points: Float[np.ndarray, "N 3"], window: int) -> Float[np.ndarray, " O"]:
        local, depths = self._projected(points, window)
        rays = self._rays(self.tracks.xy[self.tracks.frame < window])
        where = local[:, :2] / np.where(np.abs(depths) < _NEAR, _NEAR, depths)[:, None]
        errors = np.linalg.norm(where - rays[:, :2], axis=1) * self.focal_px
        return np.where(depths > _NEAR, np.minimum(errors, BEHIND_PX), BEHIND_PX)

    def _projected(self, points: Float[np.ndarray, "N 3"], window: int) -> tuple[np.ndarray, np.ndarray]:
        """Every observed point in its camera's frame, and its z-depth."""
        seen = self.tracks.frame < window
        cameras = np.linalg.inv(self.poses)[self.tracks.frame[seen]]
        local = np.einsum("nij,nj->ni", cameras[:, :3, :3], points[self.tracks.track[seen]]) + cameras[:, :3, 3]
        return local, local[:, 2]

    def _rays(self, xy: Float[np.ndarray, "M 2"]) -> Float[np.ndarray, "M 3"]:
        """Directions of pixels in the camera's frame, with z = 1."""
        centre = (self.tracks.width / 2, self.tracks.height / 2)
        return np.c_[(xy - centre) / self.focal_px, np.ones(len(xy))]


def _options(scale_px: float) -> pycolmap.BundleAdjustmentOptions:
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = options.refine_principal_point = options.refine_extra_params = (
        options.print_summary
    ) = False
    options.min_track_length = MIN_LENGTH
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = scale_px
    options.ceres.solver_options.num_threads = 1
    options.ceres.solver_options.max_num_iterations = _ITERATIONS if scale_px >= SCALES_PX[0] else _LAST_ITERATIONS
    return options
