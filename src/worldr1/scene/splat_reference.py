"""What it means to render Gaussians: the definition, slow and plain, that the fast renderers are tested against.

EWA splatting (Zwicker et al. 2001) with the constants and order of operations of gsplat 1.5.3's `rasterization`
in its classic mode: perspective Jacobian with the clamped view direction, `EPS2D_PX2` added to the image covariance,
front-to-back compositing by the depth of the centre, contributions below `ALPHA_MIN` skipped, and a pixel closed
before the Gaussian that would take its transmittance to `TRANSMITTANCE_STOP` or below.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from worldr1.geometry.se3 import inverse
from worldr1.scene.gaussians import check_render_inputs
from worldr1.scene.splat import ALPHA_MAX, ALPHA_MIN, EPS2D_PX2, JACOBIAN_MARGIN, NEAR, TRANSMITTANCE_STOP
from worldr1.types import Gaussians, RenderedViews


class ReferenceRenderer:
    """Renderer for a few Gaussians: float64, every pixel against every Gaussian (memory N x H x W)."""

    def __call__(
        self,
        gaussians: Gaussians,
        world_from_camera: Float[Tensor, "V 4 4"],
        intrinsics_px: Float[Tensor, "V 3 3"],
        *,
        height: int,
        width: int,
        background: Float[Tensor, "3"],
    ) -> RenderedViews:
        """All views of one scene, float64 on the CPU; raises InputError for what `check_render_inputs` refuses."""
        check_render_inputs(gaussians, world_from_camera, intrinsics_px, height=height, width=width)
        views = [
            _render_view(gaussians, pose.double().cpu(), k.double().cpu(), height, width, background.double().cpu())
            for pose, k in zip(world_from_camera, intrinsics_px, strict=True)
        ]
        colors, alphas, depths = (torch.stack(part) for part in zip(*views, strict=True))
        return RenderedViews(colors=colors, alphas=alphas, depths=depths)


def covariances(quats: Float[Tensor, "N 4"], scales: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3 3"]:
    """World covariances R diag(scales^2) R^T of Gaussians with orientation `quats` (w, x, y, z, any length)."""
    unit = quats / quats.norm(dim=-1, keepdim=True)
    w, (x, y, z) = unit[:, :1, None], unit[:, 1:].unbind(-1)
    zero = torch.zeros_like(x)
    # v -> (x, y, z) cross v; Rodrigues' formula in half angles
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(-1, 3, 3)
    rotation = torch.eye(3, dtype=quats.dtype) + 2 * w * cross + 2 * cross @ cross
    return rotation @ torch.diag_embed(scales**2) @ rotation.mT


def project(
    gaussians: Gaussians, camera_from_world: Float[Tensor, "4 4"], k: Float[Tensor, "3 3"], height: int, width: int
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "N 2 2"], Float[Tensor, " N"]]:
    """Centres (pixels), image covariances (square pixels, `EPS2D_PX2` included) and z-depths of all Gaussians."""
    rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
    means = gaussians.means.double().cpu() @ rotation.T + translation
    x, y, z = means.unbind(-1)
    fx, fy, cx, cy = (float(v) for v in (k[0, 0], k[1, 1], k[0, 2], k[1, 2]))
    margin_x, margin_y = JACOBIAN_MARGIN * 0.5 * width / fx, JACOBIAN_MARGIN * 0.5 * height / fy
    tx = (x / z).clamp(-(cx / fx + margin_x), (width - cx) / fx + margin_x)
    ty = (y / z).clamp(-(cy / fy + margin_y), (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [torch.stack([fx / z, zero, -fx * tx / z], -1), torch.stack([zero, fy / z, -fy * ty / z], -1)], -2
    )
    covariance = rotation @ covariances(gaussians.quats.double().cpu(), gaussians.scales.double().cpu()) @ rotation.T
    covariance_px2 = jacobian @ covariance @ jacobian.transpose(-1, -2) + EPS2D_PX2 * torch.eye(2, dtype=z.dtype)
    return torch.stack([fx * x / z + cx, fy * y / z + cy], -1), covariance_px2, z


def _render_view(
    gaussians: Gaussians,
    world_from_camera: Float[Tensor, "4 4"],
    k: Float[Tensor, "3 3"],
    height: int,
    width: int,
    background: Float[Tensor, "3"],
) -> tuple[Float[Tensor, "3 H W"], Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """Colour, alpha and mean depth of one view."""
    centres, covariance_px2, z = project(gaussians, inverse(world_from_camera), k, height, width)
    order = torch.argsort(z, stable=True)
    order = order[z[order] >= NEAR]
    z = z[order]
    opacities, colors = gaussians.opacities.double().cpu()[order], gaussians.colors.double().cpu()[order]

    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    offset = torch.stack([u, v], -1).double() - centres[order][:, None, None, :]
    conics = torch.linalg.inv(covariance_px2[order])
    alphas = opacities[:, None, None] * torch.exp(-0.5 * torch.einsum("nhwi,nij,nhwj->nhw", offset, conics, offset))
    alphas = torch.where(alphas < ALPHA_MIN, 0.0, alphas.clamp(max=ALPHA_MAX))

    after = torch.cumprod(1.0 - alphas, dim=0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])[: len(after)]
    # transmittance only falls, so once one Gaussian is refused all later ones are
    drawn = after > TRANSMITTANCE_STOP
    weights = alphas * before * drawn
    alpha = weights.sum(0)
    image = torch.einsum("nhw,nc->chw", weights, colors) + (1.0 - alpha) * background[:, None, None]
    depth = torch.einsum("nhw,n->hw", weights, z) / alpha.clamp(min=1e-10)
    return image, alpha, depth
