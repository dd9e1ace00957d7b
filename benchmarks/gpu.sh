#!/bin/sh
# What a GPU gains: run it in the repository on a machine with CUDA and onnxruntime-gpu; at most 8 minutes.
#
#     sh benchmarks/gpu.sh [PYTHON]
#
# Proves that the network runs on CUDA, compares it with the CPU, tells windows a second of both and, where
# PyTorch is installed, those of the same network in PyTorch, and the time of a training step.
set -eu
cd "$(dirname "$0")/.."
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || true
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" exec timeout 480 "${1:-python3}" benchmarks/gpu.py
