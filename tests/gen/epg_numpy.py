"""The EPG network and objectives in float64, written from docs/reference/method.md and from nothing else.

Parameters are a dict from name to Node; images are [batch, height, width, channels]; noise levels t are shifted unless said
otherwise. `config` has the fields of the Rust ModelConfig under "model" and of NoiseConfig under "noise". Section numbers are
those of docs/reference/method.md.
"""

import math

import numpy as np

from reverse_mode import Node, concat, gelu, gradients, logsumexp, node, relu, silu, softmax, stop_gradient

SIGMA_MIN, SIGMA_MAX, RHO, SIGMA_DATA = 0.002, 80.0, 7.0, 0.5
EPS = 1e-5

# --- section 1: noise levels and time -----------------------------------------------------------------------------


def sigma_grid(levels):
    """Unshifted, from sigma_max down to sigma_min."""
    top, bottom = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    return (top + np.arange(levels) / (levels - 1) * (bottom - top)) ** RHO


def c_in(t):
    return 1 / np.sqrt(t**2 + SIGMA_DATA**2)


def c_noise(t):
    return 250 * np.log(t)


def c_skip(t, s):
    return SIGMA_DATA**2 / ((t - s * SIGMA_MIN) ** 2 + SIGMA_DATA**2)


def c_out(t, s):
    return (t - s * SIGMA_MIN) * SIGMA_DATA / np.sqrt(t**2 + SIGMA_DATA**2)


def sinusoid(time, width):
    """[batch] -> [batch, width]: cosines, then sines."""
    half = width // 2
    angle = time[:, None] * np.exp(-math.log(10000.0) * np.arange(half) / half)
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1)


# --- section 2: network -------------------------------------------------------------------------------------------


def linear(p, name, x):
    """y = x W^T (+ b); W is [out, in]."""
    y = x @ p[name + ".weight"].transpose(1, 0)
    return y + p[name + ".bias"] if name + ".bias" in p else y


def layer_norm(p, name, x):
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    return centred * (variance + EPS) ** -0.5 * p[name + ".weight"] + p[name + ".bias"]


def attention(p, name, x, heads):
    batch, tokens, width = x.shape
    head = width // heads
    qkv = linear(p, name + ".qkv", x).reshape(batch, tokens, 3, heads, head).transpose(2, 0, 3, 1, 4)
    q, k, v = qkv[0], qkv[1], qkv[2]
    weights = softmax(q @ k.transpose(0, 1, 3, 2) * (1 / math.sqrt(head)))
    mixed = (weights @ v).transpose(0, 2, 1, 3).reshape(batch, tokens, width)
    return linear(p, name + ".proj", mixed)


def mlp(p, name, x):
    return linear(p, name + ".fc2", gelu(linear(p, name + ".fc1", x)))


def patchify(x, patch):
    batch, height, width, channels = x.shape
    x = node(x).reshape(batch, height // patch, patch, width // patch, patch, channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)  # rows and columns of patches, then p1, p2, c
    return x.reshape(batch, -1, patch * patch * channels)


def unpatchify(tokens, config):
    size, patch, channels = config["size"], config["patch"], config["channels"]
    x = tokens.reshape(-1, size // patch, size // patch, patch, patch, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, size, size, channels)


def encoder(p, config, image, time, classes=None):
    """Section 2.1. `image` is the scaled network input. Returns the normed tokens and the output of every block."""
    tower = config["model"]["encoder"]
    batch, width = image.shape[0], tower["width"]
    cls = p["encoder.cls_token"] + Node(np.zeros((batch, width)))
    if classes is not None:
        cls = cls + p["class_embed.weight"][classes]
    tokens = [
        cls.reshape(batch, 1, width),
        Node(sinusoid(time, width)[:, None, :]),
        linear(p, "encoder.patch_embed", patchify(image, config["model"]["patch"])),
    ]
    x = concat(tokens, axis=1) + p["encoder.pos_embed"]
    blocks = []
    for i in range(tower["depth"]):
        name = f"encoder.blocks.{i}"
        x = x + attention(p, name + ".attn", layer_norm(p, name + ".norm1", x), tower["heads"])
        x = x + mlp(p, name + ".mlp", layer_norm(p, name + ".norm2", x))
        blocks.append(x)
    return layer_norm(p, "encoder.norm", x), blocks


def condition(p, time, classes):
    """Section 2.3: what every AdaLN layer sees, [batch, encoder width]."""
    width = p["class_embed.weight"].shape[1]
    return Node(sinusoid(time, width)) + p["class_embed.weight"][classes]


def decoder(p, config, normed, skips, cond):
    """Section 2.3. Returns the image F and the output of every block."""
    depth, width, heads = (config["model"]["decoder"][k] for k in ("depth", "width", "heads"))
    x = linear(p, "decoder.bridge", normed) if "decoder.bridge.weight" in p else normed
    blocks = []
    for j in range(depth):
        name = f"decoder.blocks.{j}"
        x = linear(p, name + ".skip", concat([x, skips[depth - 1 - j]], axis=2))
        x = layer_norm(p, name + ".skip_norm", x)
        chunks = linear(p, name + ".adaln", silu(cond)).reshape(-1, 6, 1, width)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (chunks[:, i] for i in range(6))
        h = layer_norm(p, name + ".norm1", x) * (1.0 + scale_a) + shift_a
        x = x + gate_a * attention(p, name + ".attn", h, heads)
        h = layer_norm(p, name + ".norm2", x) * (1.0 + scale_m) + shift_m
        x = x + gate_m * mlp(p, name + ".mlp", h)
        blocks.append(x)
    pixels = linear(p, "decoder.head", layer_norm(p, "decoder.norm", x[:, 2:]))
    return unpatchify(pixels, config["model"]), blocks


def network(p, config, x_t, t, classes):
    """F(c_in x_t, c_noise(t)) for shifted times t."""
    time = c_noise(t)
    normed, skips = encoder(p, config, x_t * per_image(c_in(t)), time, classes)
    return decoder(p, config, normed, skips, condition(p, time, classes))[0]


def per_image(scalars):
    return np.asarray(scalars)[:, None, None, None]


def denoise(p, config, x_t, t, classes):
    """Section 5: c_skip x_t + c_out F, which is x_t itself at t = s sigma_min."""
    s = config["noise"]["shift"]
    out = network(p, config, x_t, t, classes)
    return x_t * per_image(c_skip(t, s)) + out * per_image(c_out(t, s))


# --- section 2.2 and 3.1: projector and pre-training ----------------------------------------------------------------


def batch_norm(p, name, x):
    """With the running statistics where the parameters have them, else with the biased statistics of this batch."""
    if name + ".running_mean" in p:
        centred, variance = x - p[name + ".running_mean"], p[name + ".running_var"]
    else:
        centred = x - x.mean(0, keepdims=True)
        variance = (centred**2).mean(0, keepdims=True)
    return centred * (variance + EPS) ** -0.5 * p[name + ".weight"] + p[name + ".bias"]


def projector(p, x):
    for i in (1, 2):
        x = relu(batch_norm(p, f"projector.bn{i}", linear(p, f"projector.fc{i}", x)))
    return linear(p, "projector.fc3", x)


def feature(p, config, x, t):
    """Section 2.1: LN(CLS) of an image at shifted noise level t, without a class; [batch, encoder width]."""
    t = np.full(x.shape[0], t)
    return encoder(p, config, x * per_image(c_in(t)), c_noise(t))[0][:, 0]


def nt_xent(queries, keys, tau):
    """Section 3.1: mean over the batch; the i-th key is positive for the i-th query. Keys carry no gradient."""
    unit = lambda v: v * (v**2).sum(-1, keepdims=True) ** -0.5
    logits = unit(queries) @ stop_gradient(unit(keys)).transpose(1, 0) * (1 / tau)
    positive = (logits * np.eye(logits.shape[0])).sum(-1)
    return (logsumexp(logits) - positive).mean()


def pretrain_loss(p, target, config, inputs):
    """Section 3.1: (L_con, L_rc). Each of the six branches is one forward pass with its own batch statistics."""
    eps, t0 = inputs["eps"], inputs["t0"]
    first, second = inputs["y1"] + t0 * eps, inputs["y2"] + t0 * eps
    project = lambda weights, x: projector(weights, feature(weights, config, x, t0))
    l_con = nt_xent(project(p, first), project(target, second), config["tau_con"])
    l_con = l_con + nt_xent(project(p, second), project(target, first), config["tau_con"])
    noisier = feature(p, config, inputs["x0"] + inputs["t_n"] * eps, inputs["t_n"])
    cleaner = feature(p, config, inputs["x0"] + inputs["t_n_minus_1"] * eps, inputs["t_n_minus_1"])
    return l_con, nt_xent(noisier, cleaner, config["tau_rc"])


# --- section 5: consistency and auxiliary losses --------------------------------------------------------------------


def consistency_model(p, config, x_t, t, classes):
    """f(x_t, t): with the boundary condition ("edm"), or the network output itself ("plain-x")."""
    if config["parametrisation"] == "edm":
        return denoise(p, config, x_t, t, classes)
    return network(p, config, x_t, t, classes)


def consistency_loss(p, config, inputs):
    """Section 5: the weighted loss of every image, [batch]; the loss is their mean."""
    t, r, x0, eps = inputs["t"], inputs["r"], inputs["x0"], inputs["eps"]
    student = consistency_model(p, config, x0 + per_image(t) * eps, t, inputs["classes"])
    teacher = consistency_model(p, config, x0 + per_image(r) * eps, r, inputs["classes"])
    exact = inputs["r_at_floor"].astype(bool)
    if config["parametrisation"] == "edm":
        weight = np.where(t > r, 1 / np.where(t > r, t - r, 1.0), 0.0)
    else:
        exact = exact | (t < config["anchor"])
        weight = 1 / np.sqrt((t - r) ** 2 + 0.25)
    target = stop_gradient(Node(np.where(per_image(exact), x0, teacher.value)))
    u = ((student - target) ** 2).reshape(x0.shape[0], -1).sum(-1)
    return u * (stop_gradient(u) + config["huber_c"] ** 2) ** -0.5 * weight


def auxiliary_loss(p, frozen, config, inputs):
    """Section 5: d(W(f(x_t, t), t0), sg W(x0, t0); tau). W sees c_in(t0) times the image, with no noise added."""
    t, x0 = inputs["t"], inputs["x0"]
    generated = consistency_model(p, config, x0 + per_image(t) * inputs["eps"], t, inputs["classes"])
    t0 = config["noise"]["shift"] * SIGMA_MIN
    view = lambda image: projector(frozen, feature(frozen, config, image, t0))
    return nt_xent(view(generated), view(node(x0)), config["tau_aux"])


# --- section 8: drifting --------------------------------------------------------------------------------------------


def corners(size, side):
    """Where windows of this side begin along an edge: half a side apart, as far beyond one end as beyond the other."""
    step = side // 2
    count = -(-size // step)
    beyond = (step * (count - 1) + side - size) // 2
    return [step * i - beyond for i in range(count)]


def feature_kinds(model, config):
    """For each kind: the slices of a picture in each place, and D. What lies beyond the edge is black and moves nothing."""
    size, channels = model["size"], model["channels"]
    kinds = [([slice(i, i + model["patch"]) for i in range(0, size, model["patch"])], model["patch"])]
    for side in config["windows"]:
        kinds.append(([slice(max(i, 0), min(i + side, size)) for i in corners(size, side)], side))
    kinds.append(([slice(0, size)], size))
    return [([(y, x) for y in along for x in along], side * side * channels) for along, side in kinds]


def attraction_and_repulsion(x, real, others, mean, tau, guidance):
    """Algorithm 2 of the drifting paper for one set in one place: x [N, D], real [P, D], real ones of other sets [U, D]; V before any
    normalisation."""
    negative = np.concatenate([x, others])
    times = np.ones(len(real) + len(negative))
    times[len(real) + len(x) :] = (guidance - 1) * (len(x) - 1) / max(len(others), 1)
    kernel = np.exp(-np.linalg.norm(x[:, None] - np.concatenate([real, negative])[None], axis=-1) / (mean * tau))
    for i in range(len(x)):
        kernel[i, len(real) + i] = 0
    a = times * kernel / np.sqrt((times * kernel).sum(1, keepdims=True) * kernel.sum(0, keepdims=True))
    plus, minus = a[:, : len(real)], a[:, len(real) :]
    return (plus * minus.sum(1, keepdims=True)) @ real - (minus * plus.sum(1, keepdims=True)) @ negative


def of_other_sets(real, k, guidance):
    """As many real pictures as a set has, the i-th of the others in turn: real [K, P, D]."""
    sets, count = real.shape[:2]
    chosen = [real[(k + 1 + i % (sets - 1)) % sets, i] for i in range(count)] if guidance > 1 else []
    return np.array(chosen).reshape(-1, real.shape[2])


def drift_loss(p, config, inputs):
    """Section 8: the loss of every kind of features, and the root mean square of V at every temperature."""
    sets, generated = len(inputs["set_classes"]), config["generated"]
    t = np.full(sets * generated, config["noise"]["shift"] * SIGMA_MAX)
    classes = np.repeat(inputs["set_classes"], generated)
    x = consistency_model(p, config, per_image(t) * inputs["eps"], t, classes)
    # The bytes 0 and 255 are -1 and 1 here, and a quarter of their range is 0.5. The gradient goes on to the values before they were cut, but
    # where they are farther away, only if it leads back.
    shown = Node(np.clip(x.value, -1, 1))
    slope = gradients(sum(loss_of_shown(shown, config, inputs)[0], 0.0), {"x": shown})["x"]
    beyond = x.value - shown.value
    free = stop_gradient(Node((abs(beyond) <= 0.5) | (beyond * slope >= 0)))
    return loss_of_shown(stop_gradient(shown) + (x - stop_gradient(x)) * free, config, inputs)


def loss_of_shown(x, config, inputs):
    """The same of pictures x as they are shown."""
    sets, generated, real = len(inputs["set_classes"]), config["generated"], inputs["real"]
    losses, sizes = [], []
    for places, width in feature_kinds(config["model"], config):
        seen = [x[(slice(None), *place)].reshape(sets, generated, -1) for place in places]
        seen_real = [real[(slice(None), *place)].reshape(sets, len(real) // sets, -1) for place in places]
        alpha = config["guidance"]
        triples = [(phi.value[k], q[k], of_other_sets(q, k, alpha)) for phi, q in zip(seen, seen_real) for k in range(sets)]
        far = lambda a, b: np.linalg.norm(a[:, None] - b[None], axis=-1)
        among = [far(phi, phi)[~np.eye(generated, dtype=bool)] for phi, *_ in triples]
        mean = (np.mean([far(phi, q) for phi, q, _ in triples]) + np.mean(among)) / 2
        scale = float(stop_gradient(Node(mean)).value) / np.sqrt(width)
        fields, kind = [0.0] * len(triples), []
        for tau in config["temperatures"]:
            v = [attraction_and_repulsion(*triple, mean, tau, alpha) / scale for triple in triples]
            values = sum((one**2).sum() for one in v)
            kind.append(np.sqrt(values / (len(triples) * generated * width)))
            fields = [field + one / kind[-1] for field, one in zip(fields, v)]
        loss = 0.0
        for j, phi in enumerate(seen):
            field = np.stack(fields[j * sets : (j + 1) * sets])
            distance = phi * (1 / scale) - stop_gradient(phi * (1 / scale) + field)
            loss = loss + (distance**2).sum() * (1 / (sets * generated * width))
        losses.append(loss)
        sizes.append(kind)
    return losses, np.array(sizes)
