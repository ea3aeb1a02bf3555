"""The model section of a training file as typed, frozen blocks."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict, model_validator

from electrojax.sections import Length, Section, misplaced


class Density(Section):
    """The charge density: Gaussian multipoles at the atoms."""

    l_max: int = Field(
        default=1,
        ge=0,
        le=2,
        description="highest multipole: 0 charges, 1 also dipoles, 2 also quadrupoles",
    )
    width: Length = Field(default=1.5, description="standard deviation of the Gaussians, Å")


class Coulomb(Section):
    """How the electrostatic energy of the density is summed."""

    boundary: Literal["auto", "open", "periodic", "slab"] = Field(
        default="auto",
        description="auto follows each frame's pbc: FFF is open, TTT periodic, two T slab",
    )
    method: Literal["auto", "direct", "ewald", "mesh", "mesh_ewald"] = Field(
        default="auto",
        description="how cells are summed: direct in reciprocal space, ewald also in real space "
        "(for narrow Gaussians), mesh and mesh_ewald the same on a mesh (for many atoms); auto "
        "takes the cheapest for the training set and, later, for each structure",
    )
    accuracy: float = Field(
        default=1e-5,
        ge=1e-13,
        le=0.1,
        description="requested RMS force error over the RMS force",
    )
    finite_size: Literal["none", "makov_payne"] = Field(
        default="none",
        description="correction of periodic cells; makov_payne takes out the images of a molecule "
        "in a cubic box",
    )

    counter_charge: Literal["none", "plane", "jellium"] = Field(
        default="none",
        description="what takes up the charge of a slab: a charged plane, or a uniform charge "
        "between two heights; fixed potential needs one",
    )
    counter_heights: Annotated[
        tuple[Annotated[float, Field(ge=-1e4, le=1e4)], ...], Strict(False)
    ] = Field(
        default=(),
        description="where it is, Å along the slab's normal: [height] of a plane, [lower, upper] "
        "of a jellium",
    )

    @model_validator(mode="after")
    def _counter_charge_has_a_place(self) -> Self:
        needed = {"none": 0, "plane": 1, "jellium": 2}[self.counter_charge]
        if self.counter_charge != "none" and self.boundary in ("open", "periodic"):
            message = f'has no meaning with boundary "{self.boundary}"; use none'
            raise misplaced("counter_charge", f"{self.counter_charge} {message}")
        if len(self.counter_heights) != needed:
            got, numbers = len(self.counter_heights), "number" if needed == 1 else "numbers"
            message = f'counter_charge "{self.counter_charge}" needs {needed} {numbers}, got {got}'
            raise misplaced("counter_heights", message)
        if needed == 2 and not self.counter_heights[0] < self.counter_heights[1]:
            raise misplaced("counter_heights", "the lower bound must be below the upper one")
        return self

    @model_validator(mode="after")
    def _methods_fit(self) -> Self:
        if self.finite_size != "none" and self.boundary in ("open", "slab"):
            message = f'has no meaning with boundary "{self.boundary}"; use none'
            raise misplaced("finite_size", f"{self.finite_size} {message}")
        if self.method in ("mesh", "mesh_ewald") and self.accuracy < 1e-10:
            message = f"no mesh reaches {self.accuracy:g}; use at least 1e-10, or method direct"
            raise misplaced("accuracy", message)
        return self


class KindOptions(Section):
    """The options of one kind of backbone, solver or logger; its `kind` says which."""

    kind: str

    def options(self) -> dict[str, Any]:
        """Returns the options without `kind`: the keyword arguments of the module's class."""
        return {key: getattr(self, key) for key in type(self).model_fields if key != "kind"}


class Model(Section):
    """The potential: a network, a charge solver and the Coulomb energy of what it finds.

    The types of `backbone` and `solver` are narrowed to the known kinds by `kinds.run_schema`.
    """

    backbone: KindOptions = Field(description="the network that describes atomic environments")
    density: Density = Field(default_factory=Density, description="the charge density of the model")
    coulomb: Coulomb = Field(default_factory=Coulomb, description="the electrostatic energy")
    solver: KindOptions = Field(description="how charges follow from the network's features")
    matmul_precision: Literal["float32", "tensorfloat32", "bfloat16"] = Field(
        default="float32",
        description="of products of float32 matrices on GPU and TPU; fewer digits are faster, and "
        "never taken unasked",
    )
