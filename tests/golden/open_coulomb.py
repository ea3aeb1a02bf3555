"""Gaussian charges and dipoles without periodicity, in torch and in closed form.

In place of graph_longrange's pairs of displaced charges: v_i = Σ_j (q_j − μ_j·∇) k_e erf(ad)/d
with a = 1/√(2 (σ² + τ²)) of a source σ and a receiver τ, and its gradient.
"""

import math

import torch
from graph_longrange.utils import FIELD_CONSTANT

YZX = [1, 2, 0]


def potentials(multipoles, positions, source, receiver):
    """Returns v [N] and ∇v [N, 3] (x, y, z) at every atom, of all others."""
    a = 1.0 / math.sqrt(2.0 * (source**2 + receiver**2))
    others = ~torch.eye(len(positions), dtype=torch.bool)
    vectors = (positions[:, None] - positions[None])[others].reshape(len(positions), -1, 3)
    full = torch.zeros((len(positions), 4), dtype=positions.dtype)
    full[:, : multipoles.shape[-1]] = multipoles.reshape(len(positions), -1)
    spread = full[None].expand(len(positions), -1, -1)[others].reshape(len(positions), -1, 4)
    charges, dipoles = spread[..., 0], spread[..., [3, 1, 2]]
    d = torch.linalg.norm(vectors, dim=-1)
    unit = vectors / d[..., None]
    gauss = torch.exp(-((a * d) ** 2)) / math.sqrt(math.pi)
    value = torch.erf(a * d) / d
    slope = (2 * a * gauss - value) / d
    bend = -2 * slope / d - 4 * a**3 * gauss
    along = (dipoles * unit).sum(-1)
    v = charges * value - slope * along
    gradient = (charges * slope)[..., None] * unit - (
        (slope / d)[..., None] * dipoles + ((bend - slope / d) * along)[..., None] * unit
    )
    k = FIELD_CONSTANT / (4 * math.pi)
    return k * v.sum(1), k * gradient.sum(1)


class Energy(torch.nn.Module):
    """In place of RealSpaceFiniteDiffereneEnergy, of one structure."""

    def __init__(self, old):
        super().__init__()
        self.width, self.own = old.density_smearing_width, old.self_interaction
        self.keep = old.include_self_interaction

    def forward(self, source_feats, positions, batch):
        v, gradient = potentials(source_feats, positions, self.width, self.width)
        energy = (source_feats[:, 0] * v).sum()
        if source_feats.shape[-1] > 1:
            energy = energy + (source_feats[:, 1:4] * gradient[:, YZX]).sum()
        if self.keep:
            energy = energy + (source_feats * self.own(source_feats)).sum()
        return 0.5 * energy.reshape(1)


class Features(torch.nn.Module):
    """In place of RealSpaceFiniteDifferenceElectrostaticFeatures, of one structure."""

    def __init__(self, old):
        super().__init__()
        self.source, self.widths = old.density_smearing_width, old.projection_smearing_widths
        self.top, self.own = old.projection_max_l, old.self_interaction
        self.keep = old.include_self_interaction

    def forward(self, source_feats, node_positions, batch):
        source_feats = source_feats.reshape(len(node_positions), -1)
        seen = [potentials(source_feats, node_positions, self.source, w) for w in self.widths]
        values = torch.stack([v for v, _ in seen], dim=1) * math.sqrt(4 * math.pi)
        own = self.own(source_feats)
        if self.top:
            factors = [math.pi * math.sqrt(1.5) * w for w in self.widths]
            slopes = [f * g[:, YZX] for f, (_, g) in zip(factors, seen)]
            values = torch.cat([values, *slopes], dim=1)
        return values + own if self.keep else values, own, None
