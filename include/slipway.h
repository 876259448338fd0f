#ifndef SLIPWAY_H_
#define SLIPWAY_H_
/* The C interface of the runtime: load a package, make sessions, run them.
 *
 * Thread safety: a package may be shared by any number of threads and sessions; a session is used by one thread at a time. After a session's first
 * run with given shapes, slipway_session_run allocates no memory in our own code. All functions that can fail return 0 or a SLIPWAY_* code and fill *error
 * (which may be null). Strings returned live as long as the object they come from.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "slipway/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct slipway_package slipway_package;
typedef struct slipway_session slipway_session;

const char* slipway_version(void);

/* Maps and validates a .slip file. Errors: NOT_FOUND, DATA_LOSS (corrupt: names the field), UNSUPPORTED (newer format; a backend that this build does not
 * have; instructions that this CPU lacks). */
int slipway_package_load(const char* path, slipway_package** package, slipway_error* error);
/* The same from memory, which must be 64-byte aligned and outlive the package. */
int slipway_package_load_memory(const void* bytes, size_t size, slipway_package** package, slipway_error* error);
void slipway_package_free(slipway_package* package); /* sessions keep what they need */

/* Loads a shared library for packages loaded afterwards: registers its backend (slipway_backend_main) and its operators (slipway_operators_main). */
int slipway_load_plugin(const char* path, slipway_error* error);

typedef struct slipway_tensor_info {
  const char* name;
  uint32_t dtype; /* ONNX TensorProto.DataType */
  int32_t rank;
  int64_t dims[SLIPWAY_MAX_RANK];         /* -1 = dynamic */
  const char* dim_names[SLIPWAY_MAX_RANK]; /* expression of a dynamic dimension, else null */
} slipway_tensor_info;

uint32_t slipway_package_num_inputs(const slipway_package* package);
uint32_t slipway_package_num_outputs(const slipway_package* package);
int slipway_package_input(const slipway_package* package, uint32_t index, slipway_tensor_info* info);
int slipway_package_output(const slipway_package* package, uint32_t index, slipway_tensor_info* info);
/* What an input or output is: a tensor, or what holds tensors of its dtype (rank 0 in its info, since each has an extent of its own). */
enum {
  SLIPWAY_TENSOR = 0,
  SLIPWAY_SEQUENCE = 1,
  SLIPWAY_OPTIONAL = 2, /* of one tensor */
  SLIPWAY_OPTIONAL_SEQUENCE = 3
};
int slipway_package_input_container(const slipway_package* package, uint32_t index); /* -1: no such input */
int slipway_package_output_container(const slipway_package* package, uint32_t index);
/* A provenance entry ("platform", "model_sha256", "tool_version", ...), or null. */
const char* slipway_package_provenance(const slipway_package* package, const char* key);

typedef struct slipway_session_options {
  uint32_t struct_size; /* sizeof(slipway_session_options) */
  int32_t threads;      /* 0 = all CPUs this process may use */
  bool pin;             /* bind worker threads to CPUs */
  bool profile;         /* time every step */
  int32_t spin;         /* busy-wait rounds (some 20 ns each) of an idle worker before it yields; -1 = default */
  /* Loop and Scan may run this many iterations together in one run, nested ones counted each time; more is RESOURCE_EXHAUSTED. 0 = default, 10 million */
  int64_t max_iterations;
  int32_t yield; /* then so many calls of sched_yield before it sleeps; -1 = default. spin = yield = 0: it sleeps at once */
} slipway_session_options;
void slipway_session_options_init(slipway_session_options* options); /* threads = 1, no pinning, no profile */

int slipway_session_create(slipway_package* package, const slipway_session_options* options, slipway_session** session,
                           slipway_error* error);
void slipway_session_free(slipway_session* session);

/* Fixes the extent of input `name` for the next runs; needed for dynamic inputs before their first slipway_session_input. New extents re-plan the
 * memory at the next run; nothing is recompiled. */
int slipway_session_set_shape(slipway_session* session, const char* name, const int64_t* dims, int32_t rank, slipway_error* error);
/* The memory of an input to write, or of an output to read after run: dense row-major. Valid until the next set_shape or free. An output whose extent the data decide
 * (NonZero, NonMaxSuppression, ...; its dim_names have a symbol that no input has) is there after a run only, with the extents of that run, and valid until the next. */
int slipway_session_input(slipway_session* session, const char* name, slipway_tensor* tensor, slipway_error* error);
int slipway_session_output(slipway_session* session, const char* name, slipway_tensor* tensor, slipway_error* error);
/* Uses the caller's memory (64-byte aligned, at least tensor bytes) instead of the session's, until the next set_shape; null goes back. For an output whose extent the
 * data decide, `bytes` is checked in the run. */
int slipway_session_bind(slipway_session* session, const char* name, void* data, size_t bytes, slipway_error* error);

/* Sequences and optionals, tensor by tensor (the functions above are for tensors). Their runs allocate memory.
 * set_length: input `name` holds `length` tensors from now on, those that were there unchanged; -1 is an optional that holds nothing, an optional tensor that is
 * there has length 1. set_item: gives tensor `index` its extent and returns its memory, to be written before the next run. length and item: of an input as it was
 * set, or of an output as the last run made it (valid until the next). */
int slipway_session_set_length(slipway_session* session, const char* name, int64_t length, slipway_error* error);
int slipway_session_set_item(slipway_session* session, const char* name, int64_t index, const int64_t* dims, int32_t rank, slipway_tensor* tensor,
                             slipway_error* error);
int slipway_session_length(slipway_session* session, const char* name, int64_t* length, slipway_error* error);
int slipway_session_item(slipway_session* session, const char* name, int64_t index, slipway_tensor* tensor, slipway_error* error);

int slipway_session_run(slipway_session* session, slipway_error* error);

/* Steps in the bodies of If, Loop and Scan follow the step that they belong to and are called "loop/body/step"; the time of that one (backend "session") is
 * without theirs. */
typedef struct slipway_step_profile {
  const char* name;    /* node */
  const char* op;
  const char* backend;
  const char* kernel;
  uint64_t runs;
  double total_ms, min_ms;
  int64_t macs; /* multiply-accumulates of one run at the current shapes */
} slipway_step_profile;
/* With options.profile; index in execution order. */
uint32_t slipway_session_num_steps(const slipway_session* session);
int slipway_session_profile(const slipway_session* session, uint32_t index, slipway_step_profile* profile);
/* What step `index` of the profile moves at the current shapes, to set its time against what the machine can do. */
typedef struct slipway_step_cost {
  uint32_t struct_size; /* in: sizeof(slipway_step_cost) */
  uint32_t dtype;       /* of its first input, else of its first output; 0 = neither is a tensor */
  int64_t macs;
  uint64_t bytes_read;  /* inputs and constants; 0 before the shapes are known */
  uint64_t bytes_written;
} slipway_step_cost;
int slipway_session_step_cost(const slipway_session* session, uint32_t index, slipway_step_cost* cost);
void slipway_session_reset_profile(slipway_session* session);
/* Bytes of activations and workspace at the current shapes (inputs and outputs included). */
uint64_t slipway_session_memory(const slipway_session* session);

#ifdef __cplusplus
}
#endif
#endif /* SLIPWAY_H_ */
