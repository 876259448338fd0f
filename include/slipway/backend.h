#ifndef SLIPWAY_BACKEND_H_
#define SLIPWAY_BACKEND_H_
/* The run side of a backend: a versioned C interface, so that a vendor can ship a closed shared library. One of the promises of stability: within one
 * SLIPWAY_BACKEND_ABI_VERSION structs only grow at the end (struct_size says how far), and values are never reused.
 *
 * Life of a step: load (once per package, shared by its sessions) -> prepare (once per session and set of shapes) -> run (many times) -> release -> unload.
 * Functions return 0 or an error code (slipway_error.code); none may throw, exit or keep pointers to the arguments' structs beyond the call. load and prepare may
 * be called from several threads for different programs; run of one bound step is never called concurrently, of different bound steps it may be.
 */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLIPWAY_BACKEND_ABI_VERSION 1
#define SLIPWAY_MAX_RANK 12

/* The values of slipway::StatusCode. */
enum {
  SLIPWAY_OK = 0,
  SLIPWAY_INVALID_ARGUMENT = 1,
  SLIPWAY_NOT_FOUND = 2,
  SLIPWAY_UNSUPPORTED = 3,
  SLIPWAY_DATA_LOSS = 4,
  SLIPWAY_RESOURCE_EXHAUSTED = 5,
  SLIPWAY_UNAVAILABLE = 6,
  SLIPWAY_GATE_FAILED = 7,
  SLIPWAY_INTERNAL = 8
};

/* Owned by the caller; a failing function fills both fields (message is always terminated). */
typedef struct slipway_error {
  int32_t code;
  char message[508];
} slipway_error;

/* dtype: ONNX TensorProto.DataType. layout: slipway::format::Layout; dims are in logical order. An absent optional tensor has dtype 0.
 * data is 64-byte aligned. In load, data is set for constants only (valid until unload) and dims hold -1 where the size is not known yet. In
 * prepare, dims are concrete and data is again set for constants only. In run everything is set. */
typedef struct slipway_tensor {
  uint32_t dtype;
  uint32_t layout;
  int32_t rank;
  int32_t is_constant;
  int64_t dims[SLIPWAY_MAX_RANK];
  uint64_t bytes;
  void* data;
} slipway_tensor;

/* Data-parallel loops on the session's threads, given to run. */
typedef struct slipway_execution {
  uint32_t struct_size;
  int32_t threads;
  void* pool;
  void (*parallel_for)(void* pool, int64_t count, int64_t grain,
                       void (*body)(void* context, int64_t begin, int64_t end), void* context);
  void* workspace; /* as many bytes as prepare asked for, 64-byte aligned; null when 0 */
  uint64_t workspace_bytes;
} slipway_execution;

typedef struct slipway_step {
  uint32_t struct_size;
  const char* name; /* for error messages */
  const uint8_t* blob;
  uint64_t blob_size;
  uint32_t num_inputs, num_outputs;
  const slipway_tensor* inputs;
  const slipway_tensor* outputs;
} slipway_step;

/* What prepare is told besides the step's tensors, and what it answers. */
typedef struct slipway_requirements {
  uint32_t struct_size;
  int32_t threads;          /* in: how many threads run will have */
  uint64_t workspace_bytes; /* out */
} slipway_requirements;

typedef struct slipway_memory_kind {
  const char* name;   /* "host"; a device backend adds its own */
  uint64_t alignment; /* bytes */
} slipway_memory_kind;

typedef struct slipway_backend {
  uint32_t struct_size;
  uint32_t abi_version; /* SLIPWAY_BACKEND_ABI_VERSION it was built with */
  const char* name;     /* what packages call it: "x86", "onednn", ... */
  const char* version;  /* of the library behind it */
  void* context;        /* passed back to every function */

  /* Memory kinds; kind 0 must be host memory. Null: host memory only. */
  uint32_t num_memory_kinds;
  const slipway_memory_kind* memory_kinds;

  int (*load)(void* context, const slipway_step* step, void** program, slipway_error* error);
  void (*unload)(void* context, void* program);
  int (*prepare)(void* context, void* program, const slipway_step* step, slipway_requirements* requirements, void** bound,
                 slipway_error* error);
  void (*release)(void* context, void* bound);
  int (*run)(void* context, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs,
             const slipway_execution* execution, slipway_error* error);
  /* Waits until all work started by run is done and visible; null when run is synchronous. */
  int (*sync)(void* context, slipway_error* error);

  /* The extents of outputs that depend on the inputs' data, for steps that a package marks so; null when the backend has none (and absent when struct_size ends before
   * it: a backend built before this field is served as before). Called in the middle of a run, when the step's inputs are there and before prepare: step->inputs have
   * concrete dims and data, step->outputs and `outputs` equal descriptions with -1 where the package does not know the extent. Writes all dims of every present output
   * into `outputs` (their rank is given; an answer of another rank is an error). Must not allocate: it runs in every run. */
  int (*output_dims)(void* context, void* program, const slipway_step* step, slipway_tensor* outputs, slipway_error* error);
} slipway_backend;

/* A plugin exports this one symbol. Returns null when it cannot serve host_abi_version. */
typedef const slipway_backend* (*slipway_backend_entry)(uint32_t host_abi_version);
#define SLIPWAY_BACKEND_ENTRY "slipway_backend_main"

#ifdef __cplusplus
}
#endif
#endif /* SLIPWAY_BACKEND_H_ */
