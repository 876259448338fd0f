#ifndef SLIPWAY_OPERATOR_H_
#define SLIPWAY_OPERATOR_H_
/* Operators that a plugin brings: what a node of the plugin's own domain means. Such an operator goes the whole road: it is imported and exported, its shapes are inferred, the
 * interpreter and the backend `reference` run its loops, quantization follows its rule, and any backend may run it better (slipway/compiler.h).
 *
 * One of the promises of stability: within one SLIPWAY_OPERATOR_ABI_VERSION, structs with a struct_size only grow at the end, the others never change, and values are never reused.
 * Functions return 0 or an error code (the SLIPWAY_* values of slipway/backend.h) and then fill *error; none may throw, exit, or keep pointers to what it is given beyond the call.
 * They may be called from several threads at once, and the same operands give the same result: nodes are merged and computed beforehand where they can be. The host checks every answer (docs/plugins.md lists what), but a plugin runs in its process: a crash there cannot be caught.
 */
#include "slipway/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SLIPWAY_OPERATOR_ABI_VERSION 1

/* The most inputs or outputs, attributes, and strings in all attributes of one node. */
#define SLIPWAY_MAX_OPERANDS 64
#define SLIPWAY_MAX_ATTRIBUTES 64
#define SLIPWAY_MAX_STRINGS 256

/* The kinds of attributes that ONNX has, less graphs, types and tensors: a tensor is an input that is constant. */
enum {
  SLIPWAY_ATTRIBUTE_INT = 0,
  SLIPWAY_ATTRIBUTE_FLOAT = 1,
  SLIPWAY_ATTRIBUTE_STRING = 2,
  SLIPWAY_ATTRIBUTE_INTS = 3,
  SLIPWAY_ATTRIBUTE_FLOATS = 4,
  SLIPWAY_ATTRIBUTE_STRINGS = 5
};

/* One attribute of a node. Strings are terminated. */
typedef struct slipway_attribute {
  const char* name;
  uint32_t kind;  /* says which of the fields below is meant; the others are 0 */
  uint32_t count; /* of ints, floats or strings */
  int64_t i;
  double f; /* a float32 value */
  const char* s;
  const int64_t* ints;
  const float* floats;
  const char* const* strings;
} slipway_attribute;

/* An attribute that an operator has. `kind` and `has_default` say which default counts; lists have none (absent is an empty list). */
typedef struct slipway_attribute_schema {
  const char* name; /* letters, digits and _ */
  uint32_t kind;
  int32_t required; /* a node without it is refused */
  int32_t has_default;
  int64_t default_int;
  double default_float;
  const char* default_string;
} slipway_attribute_schema;

/* A node as infer, run and macs see it. All layouts are 0 (row-major). An absent optional input has dtype 0. attributes: those of the node, then the defaults of absent ones; in
 * no particular order.
 * In infer, an extent that is not known yet is a NEGATIVE number below -1 that stands for it: equal numbers are equal extents, so an output that has the same extent gets the same
 * number (the batch is such an extent in most models). Nothing can be computed with them. data is set where the elements are known (constants).
 * In run everything is set. outputs is null in infer, and in macs and run holds what infer said. */
typedef struct slipway_operator_call {
  uint32_t struct_size;
  uint32_t num_inputs, num_outputs, num_attributes;
  const slipway_tensor* inputs;
  const slipway_tensor* outputs;
  const slipway_attribute* attributes;
} slipway_operator_call;

/* infer: an extent of an output that cannot be said yet, because extents of the inputs or their data are not known. infer is asked again in the run, when all of them are. */
#define SLIPWAY_DIM_UNKNOWN (-1)

/* What quantization does with the operator. */
enum {
  /* It stays float32 between integer neighbours. */
  SLIPWAY_QUANTIZE_FLOAT = 0,
  /* It only selects, orders or copies elements of input 0 to output 0, its only output, or takes the largest (as MaxPool): codes go through with their scale. run must take int8
   * and uint8 then, and infer give the output the type of input 0. */
  SLIPWAY_QUANTIZE_CODES = 1,
  /* A function of each element of its one input to its one output, in float32 and of any rank: between 8-bit codes it becomes a table, computed by run. */
  SLIPWAY_QUANTIZE_ELEMENTWISE = 2
};

typedef struct slipway_operator {
  uint32_t struct_size;
  const char* domain; /* "acme": letters, digits, '.', '_', '-'; not one of ONNX's or Slipway's own */
  const char* name;   /* "GridMaxPool": letters, digits, '_' */
  int32_t version;    /* the newest version of the domain (ONNX's opset import) that it means; models of a newer one are refused */
  int32_t min_inputs, max_inputs; /* max: at most SLIPWAY_MAX_OPERANDS */
  int32_t min_outputs, max_outputs;
  uint32_t num_attributes;
  const slipway_attribute_schema* attributes;
  uint32_t quantization;
  void* context; /* passed back */

  /* Fills dtype, rank and dims of num_outputs outputs (given zeroed). Extents are positive (0 is allowed where an input has one), SLIPWAY_DIM_UNKNOWN, or the negative number of an
   * input's extent. Errors: SLIPWAY_INVALID_ARGUMENT or SLIPWAY_UNSUPPORTED with what is wrong with the operands. */
  int (*infer)(void* context, const slipway_operator_call* call, slipway_tensor* outputs, slipway_error* error);
  /* Computes the outputs, in plain loops: this is what the operator means. Must not allocate where it can help it. execution->workspace is null; execution->parallel_for may be used. */
  int (*run)(void* context, const slipway_operator_call* call, const slipway_execution* execution, slipway_error* error);
  /* Multiply-accumulates of one run at these extents; null: none worth counting. */
  int64_t (*macs)(void* context, const slipway_operator_call* call);
} slipway_operator;

typedef struct slipway_operator_set {
  uint32_t struct_size;
  uint32_t abi_version; /* SLIPWAY_OPERATOR_ABI_VERSION it was built with */
  const char* name;     /* of the plugin, for people */
  const char* version;
  uint32_t num_operators;
  const slipway_operator* const* operators;
} slipway_operator_set;

/* A plugin that brings operators exports this symbol. Returns null when it cannot serve host_abi_version. */
typedef const slipway_operator_set* (*slipway_operators_entry)(uint32_t host_abi_version);
#define SLIPWAY_OPERATORS_ENTRY "slipway_operators_main"

#ifdef __cplusplus
}
#endif
#endif /* SLIPWAY_OPERATOR_H_ */
