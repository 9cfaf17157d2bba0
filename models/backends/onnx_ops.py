# SPDX-License-Identifier: AGPL-3.0-or-later
"""ONNX operations as torch calls: those that detection networks exported by Ultralytics consist of, as ONNX defines them.

An entry of `OPS` takes a node's attributes and its parameters (inputs that say how, such as a shape; the positions stand
in `PARAMETERS`, others are None) and returns a call from the remaining inputs to the outputs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

Call: TypeAlias = Callable[..., tuple[Any, ...]]
Attributes: TypeAlias = Mapping[str, Any]
Parameters: TypeAlias = Sequence[Any]
Build: TypeAlias = Callable[[Attributes, Parameters], Call]

# Inputs that must be known when a program is made.
PARAMETERS: Mapping[str, tuple[int, ...]] = {
    "Clip": (1, 2),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}
FLOATS = (1, 10, 11)  # ONNX's numbers for float32, float16 and float64
_PLANES = 2  # a picture's spatial sides


class UnsupportedError(Exception):
    """An operation, or a way to use it, that is not known here."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not known here")


def _torch() -> Any:
    import torch  # noqa: PLC0415  with the extra only

    return torch


def _ints(parameter: Any) -> list[int]:
    return [int(value) for value in parameter.reshape(-1).tolist()]


def _parameter(parameters: Parameters, at: int) -> Any:
    return parameters[at] if at < len(parameters) else None


def _plain(name: str) -> Build:
    """Return the build of an operation that torch has under `name`."""

    def build(_attributes: Attributes, _parameters: Parameters) -> Call:
        function = getattr(_torch(), name)
        return lambda *inputs: (function(*inputs),)

    return build


def _functional(name: str) -> Build:
    def build(_attributes: Attributes, _parameters: Parameters) -> Call:
        function = getattr(_torch().nn.functional, name)
        return lambda x: (function(x),)

    return build


def _pads(attributes: Attributes) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding before and after the picture's two sides."""
    if attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise UnsupportedError("auto_pad")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    return (top, left), (bottom, right)


def _window(attributes: Attributes) -> dict[str, Any]:
    return {name: tuple(attributes.get(f"{name}s", (1, 1))) for name in ("stride", "dilation")}


def _conv(attributes: Attributes, _parameters: Parameters) -> Call:
    functional = _torch().nn.functional
    before, after = _pads(attributes)
    if before != after:
        raise UnsupportedError("a convolution padded on one side")
    options = {**_window(attributes), "padding": before, "groups": attributes.get("group", 1)}
    return lambda x, *weights: (functional.conv2d(x, *weights, **options),)


def _conv_transpose(attributes: Attributes, _parameters: Parameters) -> Call:
    functional = _torch().nn.functional
    before, after = _pads(attributes)
    if before != after or "output_shape" in attributes:
        raise UnsupportedError("this transposed convolution")
    options = {
        **_window(attributes),
        "padding": before,
        "output_padding": tuple(attributes.get("output_padding", (0, 0))),
        "groups": attributes.get("group", 1),
    }
    return lambda x, *weights: (functional.conv_transpose2d(x, *weights, **options),)


def _max_pool(attributes: Attributes, _parameters: Parameters) -> Call:
    functional = _torch().nn.functional
    before, after = _pads(attributes)
    if before != after:
        raise UnsupportedError("a pooling padded on one side")
    options = {
        **_window(attributes),
        "kernel_size": tuple(attributes["kernel_shape"]),
        "padding": before,
        "ceil_mode": bool(attributes.get("ceil_mode", 0)),
    }
    return lambda x: (functional.max_pool2d(x, **options),)


def _resize(attributes: Attributes, parameters: Parameters) -> Call:
    functional = _torch().nn.functional
    scales, sizes = _parameter(parameters, 2), _parameter(parameters, 3)
    mode, how = (
        attributes.get("mode", "nearest"),
        attributes.get("coordinate_transformation_mode", "half_pixel"),
    )
    if mode == "nearest" and how == "asymmetric" and attributes.get("nearest_mode") == "floor":
        options: dict[str, Any] = {"mode": "nearest"}
    elif mode == "linear" and how in {"half_pixel", "pytorch_half_pixel", "align_corners"}:
        options = {"mode": "bilinear", "align_corners": how == "align_corners"}
    else:
        raise UnsupportedError(f"resizing by {mode}, {how}")

    def call(x: Any) -> tuple[Any, ...]:
        if sizes is not None and sizes.numel():
            size = _ints(sizes)[-_PLANES:]
        else:
            factors = scales.tolist()[-_PLANES:]
            size = [int(side * factor) for side, factor in zip(x.shape[-_PLANES:], factors, strict=True)]
        return (functional.interpolate(x, size=size, **options),)

    return call


def _reshape(attributes: Attributes, parameters: Parameters) -> Call:
    sides = _ints(parameters[1])

    def call(x: Any) -> tuple[Any, ...]:
        keeps = not attributes.get("allowzero", 0)
        return (x.reshape([x.shape[at] if keeps and side == 0 else side for at, side in enumerate(sides)]),)

    return call


def _flatten(attributes: Attributes, _parameters: Parameters) -> Call:
    axis = attributes.get("axis", 1)
    return lambda x: (x.reshape(_product(x.shape[:axis]), -1),)


def _product(sides: Sequence[int]) -> int:
    product = 1
    for side in sides:
        product *= side
    return product


def _slice(_attributes: Attributes, parameters: Parameters) -> Call:
    starts, ends = _ints(parameters[1]), _ints(parameters[2])
    given = _parameter(parameters, 3)
    axes = list(range(len(starts))) if given is None else _ints(given)
    given = _parameter(parameters, 4)
    steps = [1] * len(starts) if given is None else _ints(given)
    if min(steps) < 1:
        raise UnsupportedError("slicing backwards")

    def call(x: Any) -> tuple[Any, ...]:
        where = [slice(None)] * x.dim()
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            where[axis] = slice(start, end, step)
        return (x[tuple(where)],)

    return call


def _split(attributes: Attributes, parameters: Parameters) -> Call:
    axis, sides = attributes.get("axis", 0), _parameter(parameters, 1)
    if sides is None:
        count = attributes.get("num_outputs")
        if count is None:
            raise UnsupportedError("a split without sizes")
        return lambda x: _torch().chunk(x, count, axis)
    return lambda x: _torch().split(x, _ints(sides), axis)


def _concat(attributes: Attributes, _parameters: Parameters) -> Call:
    torch, axis = _torch(), attributes["axis"]
    return lambda *inputs: (torch.cat(inputs, axis),)


def _transpose(attributes: Attributes, _parameters: Parameters) -> Call:
    order = attributes.get("perm")
    return lambda x: (x.permute(order or tuple(reversed(range(x.dim())))),)


def _unsqueeze(_attributes: Attributes, parameters: Parameters) -> Call:
    axes = _ints(parameters[1])

    def call(x: Any) -> tuple[Any, ...]:
        sides = x.dim() + len(axes)
        for axis in sorted(axis % sides for axis in axes):
            x = x.unsqueeze(axis)
        return (x,)

    return call


def _squeeze(_attributes: Attributes, parameters: Parameters) -> Call:
    axes = _parameter(parameters, 1)
    return lambda x: (x.squeeze() if axes is None else x.squeeze(tuple(_ints(axes))),)


def _expand(_attributes: Attributes, parameters: Parameters) -> Call:
    torch, sides = _torch(), _ints(parameters[1])
    return lambda x: (x.expand(torch.broadcast_shapes(tuple(x.shape), tuple(sides))),)


def _gather(attributes: Attributes, _parameters: Parameters) -> Call:
    torch, axis = _torch(), attributes.get("axis", 0)

    def call(x: Any, at: Any) -> tuple[Any, ...]:
        flat = at.reshape(-1)
        taken = x.index_select(axis, torch.where(flat < 0, flat + x.shape[axis], flat))
        return (taken.reshape([*x.shape[:axis], *at.shape, *x.shape[axis + 1 :]]),)

    return call


def _shape(attributes: Attributes, _parameters: Parameters) -> Call:
    torch = _torch()
    start, end = attributes.get("start", 0), attributes.get("end")
    return lambda x: (torch.tensor(tuple(x.shape)[start:end], dtype=torch.int64),)


def _constant(attributes: Attributes, _parameters: Parameters) -> Call:
    torch = _torch()
    if "value" in attributes:
        return lambda: (attributes["value"],)
    (value,) = attributes.values()
    return lambda: (torch.tensor(value),)


def _constant_of_shape(attributes: Attributes, parameters: Parameters) -> Call:
    torch = _torch()
    value = attributes.get("value", torch.zeros(1))
    return lambda: (value.reshape(-1)[0].expand(_ints(parameters[0])).clone(),)


def _range(_attributes: Attributes, parameters: Parameters) -> Call:
    torch = _torch()
    start, end, step = (each.item() for each in parameters)
    return lambda: (torch.arange(start, end, step, dtype=parameters[0].dtype),)


def _cast(attributes: Attributes, _parameters: Parameters) -> Call:
    torch = _torch()
    kinds = {
        1: torch.float32,
        6: torch.int32,
        7: torch.int64,
        9: torch.bool,
        10: torch.float16,
        11: torch.float64,
    }
    if attributes["to"] not in kinds:
        raise UnsupportedError("a cast to this type")
    to = kinds[attributes["to"]]

    return lambda x: (x.to(to),)


def _div(_attributes: Attributes, _parameters: Parameters) -> Call:
    torch = _torch()
    return lambda a, b: (
        torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc"),
    )


def _softmax(attributes: Attributes, _parameters: Parameters) -> Call:
    torch, axis = _torch(), attributes.get("axis", -1)
    return lambda x: (torch.softmax(x, axis),)


def _clip(_attributes: Attributes, parameters: Parameters) -> Call:
    torch = _torch()
    least, most = (
        None if each is None else each.item()
        for each in (_parameter(parameters, 1), _parameter(parameters, 2))
    )
    return lambda x: (torch.clamp(x, least, most),)


def _leaky_relu(attributes: Attributes, _parameters: Parameters) -> Call:
    functional, slope = _torch().nn.functional, attributes.get("alpha", 0.01)
    return lambda x: (functional.leaky_relu(x, slope),)


def _batch_normalization(attributes: Attributes, _parameters: Parameters) -> Call:
    functional, epsilon = _torch().nn.functional, attributes.get("epsilon", 1e-5)
    return lambda x, scale, bias, mean, variance: (
        functional.batch_norm(x, mean, variance, scale, bias, eps=epsilon),
    )


def _same(_attributes: Attributes, _parameters: Parameters) -> Call:
    return lambda x: (x,)


OPS: Mapping[str, Build] = {
    "Add": _plain("add"),
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _div,
    "Equal": _plain("eq"),
    "Exp": _plain("exp"),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "HardSwish": _functional("hardswish"),
    "Identity": _same,
    "LeakyRelu": _leaky_relu,
    "MatMul": _plain("matmul"),
    "MaxPool": _max_pool,
    "Mul": _plain("mul"),
    "Neg": _plain("neg"),
    "Pow": _plain("pow"),
    "Range": _range,
    "Relu": _plain("relu"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": _plain("sigmoid"),
    "Silu": _functional("silu"),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _functional("softplus"),
    "Split": _split,
    "Sqrt": _plain("sqrt"),
    "Squeeze": _squeeze,
    "Sub": _plain("sub"),
    "Tanh": _plain("tanh"),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _plain("where"),
}
