#pragma once
// Of the double of TensorRT (tensorrt_double.cc), not NVIDIA's: what the backend was compiled for.

#define NV_TENSORRT_MAJOR 10
#define NV_TENSORRT_MINOR 7
#define NV_TENSORRT_PATCH 0
