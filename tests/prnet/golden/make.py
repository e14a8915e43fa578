"""Makes a random checkpoint of resfcn256 with TensorFlow itself, and what TensorFlow computes with it.

The graph is written from the published architecture with tf-slim layers; names, paddings and arithmetic are
TensorFlow's. It needs an environment of its own (Python 3.11, tensorflow-cpu 2.15.1, tf_keras 2.15.1, tf-slim 1.1.0).
The files beside this one, then those of the full network:

    python tests/prnet/golden/make.py tests/prnet/golden --width 0.0625 --size 64 --slots 6 --crops 1
    python tests/prnet/golden/make.py /tmp/full --width 1 --size 256

It writes checkpoint.{index,data-00000-of-00001} (few Adam slots with `--slots N`, all of them without) and golden.npz:
crops (B,S,S,3) uint8, positions (B,S,S,3) float32, the sigmoid's output. `--time` adds TensorFlow's speed.
"""

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tf_slim as slim

# TensorFlow's own layers look for these under another name than tf_keras 2.15 gives them
for part in ("base", "convolutional", "core", "normalization", "pooling"):
    sys.modules[f"tf_keras.legacy_tf_layers.{part}"] = importlib.import_module(f"tf_keras.src.legacy_tf_layers.{part}")
sys.modules["tf_keras.legacy_tf_layers"] = importlib.import_module("tf_keras.src.legacy_tf_layers")

v1 = tf.compat.v1


def res_block(x, channels, stride):
    """1x1, 4x4, 1x1 with the sum before the last batch norm."""
    with v1.variable_scope(None, "resBlock"):
        kept = x
        if stride != 1 or x.shape[-1] != channels:
            kept = slim.conv2d(x, channels, 1, stride, activation_fn=None, normalizer_fn=None, scope="shortcut")
        y = slim.conv2d(x, channels // 2, 1)
        y = slim.conv2d(y, channels // 2, 4, stride)
        y = slim.conv2d(y, channels, 1, activation_fn=None, normalizer_fn=None)
        return tf.nn.relu(slim.batch_norm(y + kept))


def resfcn256(x, base, is_training=False):
    """NHWC in [0, 1] -> NHWC in (0, 1). In training, one step sets the moving statistics to those of its batch."""
    layers = [slim.conv2d, slim.conv2d_transpose]
    with (
        v1.variable_scope("resfcn256", reuse=v1.AUTO_REUSE),
        slim.arg_scope([slim.batch_norm], is_training=is_training, decay=0.0, scale=True),
        slim.arg_scope(layers, normalizer_fn=slim.batch_norm, activation_fn=tf.nn.relu, biases_initializer=None),
    ):
        x = slim.conv2d(x, base, 4)
        for multiple in (2, 4, 8, 16, 32):
            x = res_block(x, base * multiple, 2)
            x = res_block(x, base * multiple, 1)
        x = slim.conv2d_transpose(x, base * 32, 4)
        for multiple, count in ((16, 3), (8, 3), (4, 3), (2, 2), (1, 2)):
            for number in range(count):
                x = slim.conv2d_transpose(x, base * multiple, 4, 1 if number else 2)
        x = slim.conv2d_transpose(x, 3, 4)
        x = slim.conv2d_transpose(x, 3, 4)
        return slim.conv2d_transpose(x, 3, 4, activation_fn=tf.nn.sigmoid)


def randomise(variables, rng):
    """Batch norms that are not 0 and 1, so that no term hides a mistake; convolutions keep their initial values.

    Most units are on: a random network of 65 layers that are half off amplifies rounding a thousandfold.
    """
    ranges = {"gamma": (0.4, 0.8), "beta": (-0.1, 0.5)}
    for variable in variables:
        leaf = variable.op.name.rsplit("/", 1)[1]
        if leaf in ranges:
            yield variable.assign(rng.uniform(*ranges[leaf], variable.shape.as_list()).astype(np.float32))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--crops", type=int, default=2)
    parser.add_argument("--slots", type=int, help="variables that get Adam slots (default: all)")
    parser.add_argument("--time", action="store_true")
    args = parser.parse_args()
    rng = np.random.default_rng(7)
    v1.disable_eager_execution()
    v1.set_random_seed(7)
    image = v1.placeholder(tf.float32, [None, args.size, args.size, 3])
    training = resfcn256(image, round(16 * args.width), is_training=True)
    output = resfcn256(image, round(16 * args.width))
    variables = v1.global_variables()
    trained = v1.trainable_variables()
    print(len(variables), "variables,", sum(np.prod(v.shape.as_list()) for v in variables), "floats")
    v1.train.AdamOptimizer(1e-4).minimize(tf.reduce_mean(output), var_list=trained[: args.slots])
    crops = rng.integers(0, 256, (args.crops, args.size // 8, args.size // 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    args.out.mkdir(parents=True, exist_ok=True)
    with v1.Session(config=config) as session:
        session.run(v1.global_variables_initializer())
        session.run(list(randomise(variables, rng)))
        pixels = crops / np.float32(255)
        session.run([training, v1.get_collection(v1.GraphKeys.UPDATE_OPS)], {image: pixels})
        v1.train.Saver().save(
            session, str(args.out / "checkpoint"), write_meta_graph=False, write_state=False, latest_filename="unused"
        )
        np.savez_compressed(args.out / "golden.npz", crops=crops, positions=session.run(output, {image: pixels}))
        if args.time:
            for batch in (1, 8):
                feed = {image: rng.random((batch, args.size, args.size, 3), np.float32)}
                session.run(output, feed)
                times = []
                for _ in range(8):
                    start = time.process_time()
                    session.run(output, feed)
                    times.append((time.process_time() - start) / batch)
                print(f"tensorflow, one thread, batch {batch}: {1e3 * min(times):.1f} ms of CPU an image")


if __name__ == "__main__":
    main()
