#pragma once
// Of the double of TensorRT, not NVIDIA's: the part of the CUDA runtime that the backend tensorrt
// calls, with its names, types and values.

#include <cstddef>

#include "double_api.h"

enum cudaError {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorLaunchFailure = 719,
};
using cudaError_t = cudaError;
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
using cudaStream_t = struct CUstream_st*;
#define cudaStreamNonBlocking 0x01

struct cudaDeviceProp {
  char name[256];
  int major;
  int minor;
};

extern "C" {
DOUBLE_API const char* cudaGetErrorString(cudaError_t error);
DOUBLE_API cudaError_t cudaGetDeviceCount(int* count);
DOUBLE_API cudaError_t cudaSetDevice(int device);
DOUBLE_API cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
DOUBLE_API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags);
DOUBLE_API cudaError_t cudaStreamDestroy(cudaStream_t stream);
DOUBLE_API cudaError_t cudaStreamSynchronize(cudaStream_t stream);
DOUBLE_API cudaError_t cudaMalloc(void** memory, size_t size);
DOUBLE_API cudaError_t cudaFree(void* memory);
DOUBLE_API cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t count,
                                       cudaMemcpyKind kind, cudaStream_t stream);
}
