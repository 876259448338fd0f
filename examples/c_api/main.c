/* Runs a Slipway package from C: fills every input with 0.5 (or zero bytes), runs it once and prints the first elements of every output.
 *
 *   usage: c_api PACKAGE.slip [BATCH]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slipway.h"

static int Fail(const char* what, const slipway_error* error) {
  fprintf(stderr, "%s: %s\n", what, error->message);
  return 2;
}

/* Dynamic dimensions become `batch`. */
static int PrepareInput(slipway_session* session, const slipway_tensor_info* info, int64_t batch, slipway_error* error) {
  int64_t dims[SLIPWAY_MAX_RANK];
  slipway_tensor tensor;
  uint64_t i;
  int32_t d;
  int dynamic = 0;
  for (d = 0; d < info->rank; ++d) {
    dims[d] = info->dims[d];
    if (dims[d] < 0) {
      dims[d] = batch;
      dynamic = 1;
    }
  }
  if (dynamic && slipway_session_set_shape(session, info->name, dims, info->rank, error) != 0) return error->code;
  if (slipway_session_input(session, info->name, &tensor, error) != 0) return error->code;
  memset(tensor.data, 0, tensor.bytes);
  if (tensor.dtype == 1) { /* float32 */
    for (i = 0; i < tensor.bytes / sizeof(float); ++i) ((float*)tensor.data)[i] = 0.5f;
  }
  return 0;
}

static int Run(slipway_package* package, slipway_session* session, int64_t batch, slipway_error* error) {
  slipway_tensor_info info;
  slipway_tensor tensor;
  uint32_t i;
  uint64_t k;
  for (i = 0; i < slipway_package_num_inputs(package); ++i) {
    if (slipway_package_input(package, i, &info) != 0) return SLIPWAY_INTERNAL;
    if (PrepareInput(session, &info, batch, error) != 0) return error->code;
  }
  if (slipway_session_run(session, error) != 0) return error->code;
  for (i = 0; i < slipway_package_num_outputs(package); ++i) {
    if (slipway_package_output(package, i, &info) != 0) return SLIPWAY_INTERNAL;
    if (slipway_session_output(session, info.name, &tensor, error) != 0) return error->code;
    printf("%s (%llu bytes)", info.name, (unsigned long long)tensor.bytes);
    for (k = 0; tensor.dtype == 1 && k < tensor.bytes / sizeof(float) && k < 8; ++k) printf(" %g", ((float*)tensor.data)[k]);
    printf("\n");
  }
  return 0;
}

int main(int argc, char** argv) {
  slipway_package* package = NULL;
  slipway_session* session = NULL;
  slipway_session_options options;
  slipway_error error;
  int code;
  if (argc < 2) {
    fprintf(stderr, "usage: %s PACKAGE.slip [BATCH]\n", argv[0]);
    return 2;
  }
  memset(&error, 0, sizeof(error));
  if (slipway_package_load(argv[1], &package, &error) != 0) return Fail("load", &error);
  slipway_session_options_init(&options);
  options.threads = 0; /* all CPUs */
  if (slipway_session_create(package, &options, &session, &error) != 0) {
    slipway_package_free(package);
    return Fail("session", &error);
  }
  code = Run(package, session, argc > 2 ? atoll(argv[2]) : 1, &error);
  slipway_session_free(session);
  slipway_package_free(package);
  return code ? Fail("run", &error) : 0;
}
