/* A backend in a shared library, in C99 and with nothing but the public header: doubles float32 tensors. Test of slipway_load_plugin. */
#include <string.h>

#include "slipway/backend.h"

#ifndef PLUGIN_ABI
#define PLUGIN_ABI SLIPWAY_BACKEND_ABI_VERSION
#endif

static int Fail(slipway_error* error, int code, const char* message) {
  error->code = code;
  strncpy(error->message, message, sizeof(error->message) - 1);
  error->message[sizeof(error->message) - 1] = '\0';
  return code;
}

static int Load(void* context, const slipway_step* step, void** program, slipway_error* error) {
  (void)context;
  if (step->num_inputs != 1 || step->num_outputs != 1 || step->inputs[0].dtype != 1 || step->outputs[0].dtype != 1) {
    return Fail(error, SLIPWAY_UNSUPPORTED, "doubles one float32 tensor");
  }
  *program = context;
  return SLIPWAY_OK;
}

static void Unload(void* context, void* program) {
  (void)context;
  (void)program;
}

static int Prepare(void* context, void* program, const slipway_step* step, slipway_requirements* requirements, void** bound,
                   slipway_error* error) {
  (void)context;
  (void)program;
  if (step->inputs[0].bytes != step->outputs[0].bytes) return Fail(error, SLIPWAY_DATA_LOSS, "sizes differ");
  requirements->workspace_bytes = 100;
  *bound = NULL;
  return SLIPWAY_OK;
}

static void Release(void* context, void* bound) {
  (void)context;
  (void)bound;
}

static int Run(void* context, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs,
               const slipway_execution* execution, slipway_error* error) {
  uint64_t i;
  const float* x = (const float*)inputs[0].data;
  float* y = (float*)outputs[0].data;
  (void)context;
  (void)bound;
  if (!execution->workspace || execution->workspace_bytes < 100) return Fail(error, SLIPWAY_INTERNAL, "no workspace");
  for (i = 0; i < inputs[0].bytes / sizeof(float); ++i) y[i] = 2 * x[i];
  return SLIPWAY_OK;
}

static int Sync(void* context, slipway_error* error) {
  (void)context;
  (void)error;
  return SLIPWAY_OK;
}

/* As a plugin built before output_dims was added says it. */
static const slipway_backend kBackend = {offsetof(slipway_backend, output_dims), PLUGIN_ABI, "doubler", "1", NULL, 0, NULL,
                                         Load, Unload, Prepare, Release, Run, Sync, NULL};

const slipway_backend* slipway_backend_main(uint32_t host_abi_version) {
#ifdef PLUGIN_REFUSES
  (void)host_abi_version;
  return NULL;
#else
  (void)host_abi_version;
  return &kBackend;
#endif
}
