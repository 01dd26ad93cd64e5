"""Runs the glue for firmware (firmware-examples/ethos-u/draw.cc) with LiteRT in the place of the accelerator, and compares its inputs and its
pictures with those of the checked Python path, byte for byte.

    venv/bin/python tests/gen/glue_check.py GLUE FILE.tflite FILE.safetensors     GLUE is tests/gen/litert_pipe with draw.cc;
                                                                                the vectors are those of --vectors with --seed 7
    venv/bin/python tests/gen/glue_check.py --shape FILE.tflite                   side, channels and classes of the network
"""

import pathlib
import subprocess
import sys

import numpy
from tflite_check import LiteRt, picture_bytes, read_safetensors


def main():
    runtime = LiteRt(pathlib.Path(sys.argv[2]))
    if sys.argv[1] == "--shape":
        _, side, _, channels = runtime.inputs["noise"]["shape"]
        print(side, channels, runtime.inputs["class"]["shape"][-1])
        return
    vectors = read_safetensors(pathlib.Path(sys.argv[3]))
    count, levels = len(vectors["class"]), 0.0
    glue = subprocess.Popen([sys.argv[1], "7", str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for noise, one_hot, expected in zip(vectors["noise"], vectors["class"], vectors["pixels"]):
        given = [numpy.frombuffer(glue.stdout.read(tensor.nbytes), tensor.dtype) for tensor in (noise, one_hot)]
        for name, ours, theirs in zip(("noise", "class"), (noise, one_hot), given):
            if not numpy.array_equal(ours.ravel(), theirs):
                sys.exit(f"{sys.argv[2]}: the glue's {name} differs from that of the vectors")
            runtime.it.set_tensor(runtime.inputs[name]["index"], theirs.reshape(runtime.inputs[name]["shape"]))
        runtime.it.invoke()
        output = runtime.it.get_tensor(runtime.out)
        glue.stdin.write(output.tobytes())
        glue.stdin.flush()
        picture = picture_bytes(output).transpose(1, 2, 0)
        drawn = numpy.frombuffer(glue.stdout.read(picture.size), numpy.uint8)
        if not numpy.array_equal(picture.ravel(), drawn):
            sys.exit(f"{sys.argv[2]}: the glue's picture differs from Python's")
        levels += float(((picture - expected[0].astype(int)) ** 2).mean())
    if glue.wait():
        sys.exit(f"{sys.argv[1]} ends with {glue.returncode}")
    print(f"the glue draws {count} pictures as Python does, {numpy.sqrt(levels / count):.1f} grey levels (rms) from the float network's")


main()
