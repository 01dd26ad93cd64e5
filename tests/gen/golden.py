#!/usr/bin/env python3
"""Writes the golden vectors of tests/golden/: EPG in float64, independent of the Rust code.

Usage: python3 tests/gen/golden.py            write the files (needs numpy and safetensors)
       python3 tests/gen/golden.py --check    also compare gradients with finite differences (a minute)

Tensors: "in.*" inputs and "param.*", "target.*", "frozen.*" weights are float32 (labels and counters int64), so that every
reader starts from the same numbers; "out.*" and "grad.<parameter>" are float64. The metadata key "config" is a JSON object
whose "model" and "noise" are the Rust ModelConfig and NoiseConfig. Noise levels in "in.*" are shifted, but for noise.safetensors.
The seeds are fixed: with one numpy on one machine the files come out byte for byte the same.

noise                the schedules of sections 1, 3.2, 3.3, 4, 5
tiny_a, tiny_b       the network of section 2; "grad.*" are of out.loss = sum(in.cotangent * out.D)
pretrain             the objective of section 3.1; "target.*" are the averaged weights
consistency_*        the objective of section 5, both parametrisations
auxiliary            the auxiliary loss of section 5; "frozen.*" is the stage-1 network in evaluation mode
drift_*              the objective of section 8, both parametrisations
"""

import json
import math
import pathlib
import sys

import numpy as np
from safetensors.numpy import save_file

import epg_numpy as epg
from reverse_mode import Node, gradients, stop_gradient_tape

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "golden"

NOISE = {
    "sigma_min": epg.SIGMA_MIN,
    "sigma_max": epg.SIGMA_MAX,
    "rho": epg.RHO,
    "sigma_data": epg.SIGMA_DATA,
    "shift": 1.0,
}
TOWER = {"depth": 2, "width": 16, "heads": 2}
TINY_A = {
    "model": {"size": 8, "channels": 3, "patch": 4, "classes": 5, "encoder": TOWER, "decoder": TOWER},
    "noise": NOISE | {"shift": 0.5},
}
TINY_B = {  # grey, more patches, and a decoder of another width
    "model": {
        "size": 6,
        "channels": 1,
        "patch": 2,
        "classes": 3,
        "encoder": TOWER,
        "decoder": {"depth": 2, "width": 24, "heads": 3},
    },
    "noise": NOISE,
}
PROJECTOR = {"hidden": 32, "out": 8}

PRETRAIN_GRADIENTS = [
    "encoder.cls_token",
    "encoder.patch_embed.weight",
    "encoder.blocks.0.attn.qkv.weight",
    "encoder.blocks.1.mlp.fc2.bias",
    "encoder.norm.weight",
    "projector.fc1.weight",
    "projector.bn1.weight",
    "projector.fc3.weight",
]
FINE_TUNE_GRADIENTS = [
    "encoder.patch_embed.weight",
    "encoder.blocks.0.norm1.weight",
    "encoder.blocks.0.attn.qkv.weight",
    "decoder.blocks.0.adaln.weight",
    "decoder.blocks.1.skip.weight",
    "decoder.blocks.1.attn.proj.bias",
    "decoder.head.weight",
    "class_embed.weight",
]

# --- parameters -----------------------------------------------------------------------------------------------------


def block_shapes(name, width):
    return {
        f"{name}.norm1.weight": [width],
        f"{name}.norm1.bias": [width],
        f"{name}.attn.qkv.weight": [3 * width, width],
        f"{name}.attn.proj.weight": [width, width],
        f"{name}.attn.proj.bias": [width],
        f"{name}.norm2.weight": [width],
        f"{name}.norm2.bias": [width],
        f"{name}.mlp.fc1.weight": [4 * width, width],
        f"{name}.mlp.fc1.bias": [4 * width],
        f"{name}.mlp.fc2.weight": [width, 4 * width],
        f"{name}.mlp.fc2.bias": [width],
    }


def encoder_shapes(model):
    width, pixels = model["encoder"]["width"], model["patch"] ** 2 * model["channels"]
    patches = (model["size"] // model["patch"]) ** 2
    shapes = {
        "encoder.cls_token": [width],
        "encoder.pos_embed": [2 + patches, width],
        "encoder.patch_embed.weight": [width, pixels],
        "encoder.patch_embed.bias": [width],
    }
    for i in range(model["encoder"]["depth"]):
        shapes |= block_shapes(f"encoder.blocks.{i}", width)
    return shapes | {"encoder.norm.weight": [width], "encoder.norm.bias": [width]}


def decoder_shapes(model):
    wide, width = model["encoder"]["width"], model["decoder"]["width"]
    pixels = model["patch"] ** 2 * model["channels"]
    shapes = {"class_embed.weight": [model["classes"] + 1, wide]}
    if width != wide:
        shapes |= {"decoder.bridge.weight": [width, wide], "decoder.bridge.bias": [width]}
    for j in range(model["decoder"]["depth"]):
        name = f"decoder.blocks.{j}"
        shapes |= {
            f"{name}.skip.weight": [width, width + wide],
            f"{name}.skip.bias": [width],
            f"{name}.skip_norm.weight": [width],
            f"{name}.skip_norm.bias": [width],
            f"{name}.adaln.weight": [6 * width, wide],
            f"{name}.adaln.bias": [6 * width],
        } | block_shapes(name, width)
    return shapes | {
        "decoder.norm.weight": [width],
        "decoder.norm.bias": [width],
        "decoder.head.weight": [pixels, width],
        "decoder.head.bias": [pixels],
    }


def projector_shapes(model):
    width, hidden, out = model["encoder"]["width"], PROJECTOR["hidden"], PROJECTOR["out"]
    shapes = {"projector.fc1.weight": [hidden, width], "projector.fc2.weight": [hidden, hidden]}
    for i in (1, 2):
        shapes |= {f"projector.bn{i}.weight": [hidden], f"projector.bn{i}.bias": [hidden]}
    return shapes | {"projector.fc3.weight": [out, hidden]}


def draw(rng, shapes):
    """Random everywhere, with no zeros and no ones: a weight that is read twice or not at all must show."""
    values = {}
    for name, shape in shapes.items():
        noise = rng.standard_normal(shape)
        if "norm" in name or ".bn" in name:
            value = 0.2 * noise + name.endswith(".weight")
        elif len(shape) == 2 and "embed.weight" not in name and "pos" not in name:
            value = noise / math.sqrt(shape[1])
        elif name == "encoder.patch_embed.weight":
            value = 1.5 * noise / math.sqrt(shape[1])
        else:
            value = 0.3 * noise
        values[name] = value.astype(np.float32)
    return values


def perturbed(rng, values):
    """A neighbour of a set of weights, as an average over training would be."""
    return {k: (v + 0.05 * rng.standard_normal(v.shape)).astype(np.float32) for k, v in values.items()}


def nodes(values):
    return {name: Node(value) for name, value in values.items()}


def doubles(inputs):
    """The float32 inputs as float64; integers as they are."""
    return {k: v if v.dtype.kind == "i" else v.astype(np.float64) for k, v in inputs.items()}


# --- writing and checking -------------------------------------------------------------------------------------------


def f32(value):
    return np.asarray(value, dtype=np.float32)


def i64(value):
    return np.asarray(value, dtype=np.int64)


def save(name, config, **groups):
    tensors = {}
    for prefix, values in groups.items():
        for key, value in values.items():
            value = np.ascontiguousarray(value).reshape(np.shape(value))  # scalars stay scalars
            floats = "float64" if prefix in ("out", "grad") else "float32"
            assert value.dtype in (floats, "int64"), f"{prefix}.{key} is {value.dtype}"
            assert np.isfinite(value).all(), f"{prefix}.{key} is not finite"
            tensors[f"{prefix}.{key}"] = value
    path = FOLDER / f"{name}.safetensors"
    save_file(tensors, path, metadata={"config": json.dumps(config, sort_keys=True)})
    print(f"{path.name:32} {path.stat().st_size / 1024:7.1f} KiB, {len(tensors)} tensors")


def differentiate(name, loss_of, values, wanted):
    """Value and gradients of `loss_of(parameters)`; with --check each gradient is probed by finite differences."""
    p = nodes(values)
    loss = loss_of(p)
    grads = gradients(loss, {k: p[k] for k in wanted})
    if "--check" in sys.argv:
        worst = check(loss_of, values, grads)
        print(f"{name}: largest gradient error {worst:.1e} of the tensor's largest entry")
        assert worst < 1e-7
    return float(loss.value), grads


def check(loss_of, values, grads, entries=4, h=1e-4):
    """Five-point differences of a few entries per tensor, stop-gradient values held at the base point."""
    held, rng, worst = [], np.random.default_rng(0), 0.0
    with stop_gradient_tape("record", held):
        loss_of(nodes(values))

    def at(name, index, step):
        moved = {k: v.astype(np.float64) for k, v in values.items()}
        moved[name][index] += step
        with stop_gradient_tape("replay", held):
            return float(loss_of(nodes(moved)).value)

    for name, grad in grads.items():
        for _ in range(entries):
            index = tuple(rng.integers(n) for n in grad.shape)
            slope = 8 * (at(name, index, h) - at(name, index, -h)) - (at(name, index, 2 * h) - at(name, index, -2 * h))
            worst = max(worst, abs(slope / (12 * h) - grad[index]) / np.abs(grad).max())
    return worst


# --- the files ------------------------------------------------------------------------------------------------------


def noise():
    """Sections 1, 3.2, 3.3, 4 and 5: everything that depends on noise levels and counters only."""
    steps, s0, s1 = 600_000, 20, 1280
    t = f32([0.002, 0.0021, 0.01, 0.25, 0.5, 1.0, 3.7, 19.0, 80.0])  # unshifted
    time = f32([-1553.6515, -300.0, -1.5, 0.0, 0.25, 17.0, 346.5736, 1095.5066, 1442.0801])
    k = i64([0, 1, 50_000, 99_629, 99_630, 199_258, 300_000, 450_000, 498_145, 498_146, 600_000])
    tau_k, tau_sigma = np.meshgrid(
        i64([0, 1, 100_000, 200_000, 399_999, 400_000, 600_000]), f32([0.002, 1.0, 40.0, 80.0])
    )
    out = {f"sigmas_{n}": epg.sigma_grid(n) for n in (21, 41, 1281)}
    t64 = t.astype(np.float64)
    for s in (1, 4):
        shifted = s * t64
        out[f"s{s}.c_in"], out[f"s{s}.c_noise"] = epg.c_in(shifted), epg.c_noise(shifted)
        out[f"s{s}.c_skip"], out[f"s{s}.c_out"] = epg.c_skip(shifted, s), epg.c_out(shifted, s)
        out[f"s{s}.time_embedding"] = epg.sinusoid(epg.c_noise(shifted), 16)
    out["time_embedding"] = epg.sinusoid(time.astype(np.float64), 16)
    for a in (1, 2, 3, 4):
        factor = 1 - (1 + 8 / (1 + np.exp(t64))) / 2.0**a  # 1 + 8 sigmoid(-t)
        out[f"r_a{a}"] = np.maximum(epg.SIGMA_MIN, t64 * factor)
    k_prime = math.ceil(steps / math.log2(math.ceil(s1 / s0) + 1))
    out["levels"] = i64([min(s0 * 2 ** math.ceil(i / k_prime), s1) + 1 for i in k.tolist()])
    out["k_prime"] = i64(k_prime)
    progress = np.minimum(1.5 * tau_k.ravel() / steps, 1)
    tau_2 = 0.2 - 0.1 * np.sin(np.pi / 2 * progress)
    share = (tau_sigma.ravel().astype(np.float64) - epg.SIGMA_MIN) / (epg.SIGMA_MAX - epg.SIGMA_MIN)
    out["tau"] = share * tau_2 + (1 - share) * 0.1
    out["diffusion_weight"] = t64 ** (-6 / 7)
    config = {
        "noise": NOISE,
        "steps": steps,
        "curriculum": {"start": s0, "end": s1},
        "pair_map": {"q": 2.0, "k": 8.0, "b": 1.0},
        "temperature": {"low": 0.1, "start": 0.2},
    }
    inputs = dict(t=t, time=time, k=k, tau_k=tau_k.ravel(), tau_sigma=tau_sigma.ravel())
    save("noise", config, **{"in": inputs, "out": out})


def network(name, config, seed):
    """Section 2: the forward pass, and every parameter's gradient of sum(cotangent * D)."""
    rng, model = np.random.default_rng(seed), config["model"]
    values = draw(rng, encoder_shapes(model) | decoder_shapes(model))
    shift, classes = config["noise"]["shift"], model["classes"]
    t = f32([epg.SIGMA_MIN * shift, 0.31, 1.7, epg.SIGMA_MAX * shift])
    shape = (4, model["size"], model["size"], model["channels"])
    inputs = dict(
        x_t=f32(0.5 * rng.standard_normal(shape) + t[:, None, None, None] * rng.standard_normal(shape)),
        t=t,
        classes=i64([0, classes - 1, classes, 1]),  # the third is the unconditional row
        cotangent=f32(rng.standard_normal(shape)),
    )
    x = doubles(inputs)
    p, time = nodes(values), epg.c_noise(x["t"])
    normed, blocks = epg.encoder(p, config, x["x_t"] * epg.per_image(epg.c_in(x["t"])), time, x["classes"])
    cond = epg.condition(p, time, x["classes"])
    image, decoder_blocks = epg.decoder(p, config, normed, blocks, cond)
    denoised = epg.denoise(p, config, x["x_t"], x["t"], x["classes"])
    out = {
        "time": time,
        "condition": cond.value,
        "encoder.norm": normed.value,
        "encoder.feature": normed.value[:, 0],
        "pretrain_feature": epg.encoder(p, config, x["x_t"] * epg.per_image(epg.c_in(x["t"])), time)[0].value[:, 0],
        "F": image.value,
        "D": denoised.value,
    }
    out |= {f"encoder.blocks.{i}": b.value for i, b in enumerate(blocks)}
    out |= {f"decoder.blocks.{j}": b.value for j, b in enumerate(decoder_blocks)}

    def loss_of(p):
        return (epg.denoise(p, config, x["x_t"], x["t"], x["classes"]) * x["cotangent"]).sum()

    loss, grad = differentiate(name, loss_of, values, values)
    save(name, config, **{"in": inputs, "param": values, "out": out | {"loss": np.float64(loss)}, "grad": grad})


def pretrain():
    """Section 3.1 with the projector of section 2.2."""
    config = TINY_A | {"projector": PROJECTOR, "tau_con": 0.2, "tau_rc": 0.1}
    rng, model = np.random.default_rng(3), config["model"]
    values = draw(rng, encoder_shapes(model) | projector_shapes(model))
    target = perturbed(rng, values)
    image = rng.standard_normal((6, 8, 8, 3))
    view = lambda: f32(0.5 * image + 0.3 * rng.standard_normal(image.shape))
    grid, shift = epg.sigma_grid(21), config["noise"]["shift"]
    inputs = dict(
        y1=view(),
        y2=view(),
        x0=f32(0.5 * image),
        eps=f32(rng.standard_normal(image.shape)),
        t0=f32(shift * epg.SIGMA_MIN),
        t_n=f32(shift * grid[8]),
        t_n_minus_1=f32(shift * grid[9]),
    )
    x = doubles(inputs)

    def terms(p):
        return epg.pretrain_loss(p, nodes(target), config, x)

    l_con, l_rc = (float(term.value) for term in terms(nodes(values)))
    total, grad = differentiate("pretrain", lambda p: sum(terms(p), 0.0), values, PRETRAIN_GRADIENTS)
    out = dict(L_con=np.float64(l_con), L_rc=np.float64(l_rc), total=np.float64(total))
    save("pretrain", config, **{"in": inputs, "param": values, "target": target, "out": out, "grad": grad})


def fine_tune_inputs(rng, config):
    """Six images: ordinary pairs, t = r, r at the floor, t below the anchor, and t = r at the floor."""
    model, floor = config["model"], config["noise"]["shift"] * epg.SIGMA_MIN
    shape = (6, model["size"], model["size"], model["channels"])
    return dict(
        x0=f32(0.5 * rng.standard_normal(shape)),
        eps=f32(rng.standard_normal(shape)),
        t=f32([2.5, 1.0, 0.6, 0.25, floor, 9.0]),
        r=f32([1.25, 1.0, floor, 0.2, floor, 6.5]),
        r_at_floor=i64([0, 0, 1, 0, 1, 0]),
        classes=i64([0, model["classes"], 1, 2, model["classes"] - 1, 2]),
    )


def consistency(name, config, seed):
    """Section 5: the consistency loss."""
    rng, model = np.random.default_rng(seed), config["model"]
    values = draw(rng, encoder_shapes(model) | decoder_shapes(model))
    inputs = fine_tune_inputs(rng, config)
    x = doubles(inputs)
    per_image = epg.consistency_loss(nodes(values), config, x)
    loss, grad = differentiate(name, lambda p: epg.consistency_loss(p, config, x).mean(), values, FINE_TUNE_GRADIENTS)
    out = dict(
        f=epg.consistency_model(
            nodes(values), config, x["x0"] + epg.per_image(x["t"]) * x["eps"], x["t"], x["classes"]
        ).value,
        per_image=per_image.value,
        loss=np.float64(loss),
    )
    save(name, config, **{"in": inputs, "param": values, "out": out, "grad": grad})


def auxiliary():
    """Section 5: the auxiliary contrastive loss through the frozen stage-1 network."""
    config = TINY_A | {"projector": PROJECTOR, "parametrisation": "edm", "tau_aux": 0.1}
    rng, model = np.random.default_rng(7), config["model"]
    values = draw(rng, encoder_shapes(model) | decoder_shapes(model))
    frozen = draw(rng, encoder_shapes(model) | projector_shapes(model))
    for i in (1, 2):
        frozen[f"projector.bn{i}.running_mean"] = f32(0.5 * rng.standard_normal(PROJECTOR["hidden"]))
        frozen[f"projector.bn{i}.running_var"] = f32(rng.uniform(0.5, 2.0, PROJECTOR["hidden"]))
    inputs = fine_tune_inputs(rng, config)
    inputs = {k: inputs[k] for k in ("x0", "eps", "t", "classes")}
    x = doubles(inputs)
    loss, grad = differentiate(
        "auxiliary", lambda p: epg.auxiliary_loss(p, nodes(frozen), config, x), values, FINE_TUNE_GRADIENTS
    )
    out = dict(loss=np.float64(loss))
    save("auxiliary", config, **{"in": inputs, "param": values, "frozen": frozen, "out": out, "grad": grad})


def drift(name, config, seed, guidance):
    """Section 8: the drifting loss of three sets, two of them of one class."""
    config = config | {"generated": 4, "guidance": guidance, "temperatures": [0.05, 0.2, 0.5], "windows": [4]}
    rng, model = np.random.default_rng(seed), config["model"]
    values = draw(rng, encoder_shapes(model) | decoder_shapes(model))
    picture = (model["size"], model["size"], model["channels"])
    inputs = dict(
        eps=f32(rng.standard_normal((12, *picture))),
        real=f32(0.5 * rng.standard_normal((9, *picture))),
        set_classes=i64([1, model["classes"] - 1, 1]),
    )
    x = doubles(inputs)
    losses, sizes = epg.drift_loss(nodes(values), config, x)
    total = lambda p: sum(epg.drift_loss(p, config, x)[0], 0.0)
    loss, grad = differentiate(name, total, values, FINE_TUNE_GRADIENTS)
    out = dict(loss=np.float64(loss), kinds=np.array([float(kind.value) for kind in losses]), sizes=sizes)
    save(name, config, **{"in": inputs, "param": values, "out": out, "grad": grad})


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    noise()
    network("tiny_a", TINY_A, 1)
    network("tiny_b", TINY_B, 2)
    pretrain()
    edm = {"parametrisation": "edm", "huber_c": 0.03}
    plain = {"parametrisation": "plain-x", "huber_c": 0.03, "anchor": 0.3}
    consistency("consistency_a_edm", TINY_A | edm, 4)
    consistency("consistency_a_plain", TINY_A | plain, 5)
    consistency("consistency_b_edm", TINY_B | edm, 6)
    auxiliary()
    drift("drift_a_edm", TINY_A | {"parametrisation": "edm"}, 8, guidance=1.5)
    drift("drift_b_plain", TINY_B | {"parametrisation": "plain-x"}, 9, guidance=1.0)
