#ifndef SLIPWAY_COMPILER_H_
#define SLIPWAY_COMPILER_H_
/* The compile side of a backend in a shared library: what it can do with each node, at which price, and the steps that its run side (slipway/backend.h) will execute.
 *
 * One of the promises of stability: within one SLIPWAY_COMPILER_ABI_VERSION, structs with a struct_size only grow at the end, the others never change, and values are never reused.
 *
 * Life: for every node of a graph supports -> candidates; the compiler chooses over all backends of the platform; then compile once for each partition of nodes that this backend
 * won. Functions return 0 or an error code (the SLIPWAY_* values of slipway/backend.h) and then fill *error; none may throw, exit, or keep pointers to what it is given beyond the
 * call. They may be called from several threads at once. Answers go through a sink: the host copies them in the call, so the plugin owns all of its memory.
 * The host checks every answer (docs/plugins.md lists what), but a plugin runs in its process: a crash there cannot be caught.
 */
#include "slipway/backend.h"
#include "slipway/operator.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SLIPWAY_COMPILER_ABI_VERSION 1

/* How elements lie in memory; [N, C, spatial...] are the logical dimensions. */
enum {
  SLIPWAY_LAYOUT_PLAIN = 0,         /* row-major in logical order */
  SLIPWAY_LAYOUT_CHANNELS_LAST = 1, /* [N, spatial..., C]; rank >= 3, as the next two */
  SLIPWAY_LAYOUT_BLOCKED_8 = 2,     /* [N, ceil(C/8), spatial..., 8]; channels beyond C are zero */
  SLIPWAY_LAYOUT_BLOCKED_16 = 3     /* [N, ceil(C/16), spatial..., 16]; likewise */
};

/* What a backend compiles: our kernels' way and a vendor's primitives get one step a node; a vendor's graph compiler may make steps of several nodes. */
enum {
  SLIPWAY_LEVEL_CODE = 1,
  SLIPWAY_LEVEL_OPERATOR = 2,
  SLIPWAY_LEVEL_NETWORK = 3
};

/* A value. dims: -1 where the extent is not known before the run (the batch of a dynamic model). dtype: ONNX TensorProto.DataType. */
typedef struct slipway_value {
  const char* name;
  uint32_t dtype;
  int32_t rank;
  int64_t dims[SLIPWAY_MAX_RANK];
  int32_t producer;          /* index of the node of this graph that makes it, -1: it comes from outside or is constant */
  uint32_t num_consumers;    /* nodes of this graph that read it, each as often as it does */
  const uint32_t* consumers; /* their indices */
  int32_t read_outside;      /* also read by nodes that are not in this graph, or an output of the model */
  int32_t is_constant;
  uint64_t bytes;            /* of data */
  const void* data;          /* of a constant, row-major; aligned for its type; null otherwise */
} slipway_value;

/* domain: "" = ai.onnx, "slipway" = Slipway's own (docs/operators.md), else a plugin's. attributes: those that the node has; what is absent has the operator's default. */
typedef struct slipway_node {
  const char* domain;
  const char* op;
  const char* name;
  uint32_t num_attributes, num_inputs, num_outputs;
  const slipway_attribute* attributes;
  const int32_t* inputs; /* indices of values; -1 = absent */
  const int32_t* outputs;
} slipway_node;

/* One node (supports, candidates) or a partition (compile), in an order in which nodes can run. */
typedef struct slipway_graph {
  uint32_t struct_size;
  uint32_t num_nodes, num_values;
  const slipway_node* nodes;
  const slipway_value* values;
} slipway_graph;

typedef struct slipway_target {
  uint32_t struct_size;
  const char* arch; /* what the package runs on: "x86_64", "aarch64", "riscv64", "any" */
  int32_t threads;  /* what prices are for */
  int32_t exact;    /* no algorithm that rounds more than the sums it stands for (Winograd) */
} slipway_target;

/* One way to run a node. */
typedef struct slipway_candidate {
  uint32_t struct_size;
  const char* kernel;              /* for people and for the table of costs: "conv:mac16"; at most 63 bytes, no control characters */
  const uint32_t* input_layouts;   /* one for each input of the node; null: all plain. Constants: ignored. Ignored at the network level: there all is plain */
  const uint32_t* output_layouts;
  /* The price: cost_us when it is not negative, else estimated from the shares of the machine's best rates (0, 1] that it reaches, and the overhead. */
  double cost_us;
  double compute_efficiency;
  double memory_efficiency;
  double overhead_us;
  int32_t in_place;                /* output 0 may share this input's memory (same bytes and layout), -1: none */
} slipway_candidate;

/* Returns 0, or an error code when the candidate was not taken; the plugin then returns at once. */
typedef struct slipway_candidate_sink {
  uint32_t struct_size;
  void* host;
  int (*add)(void* host, const slipway_candidate* candidate);
} slipway_candidate_sink;

/* A further constant input of a step, behind its inputs: weights as the run side reads them. */
typedef struct slipway_packed {
  uint32_t dtype;
  int32_t rank;
  int64_t dims[SLIPWAY_MAX_RANK];
  uint64_t bytes;
  const void* data;
} slipway_packed;

/* A step of the program. It stands for `nodes`, of which the first gives it its name. Below the network level: for one node, with that node's inputs (-1 for constants that it does
 * not need any more) and outputs. At the network level: inputs are values from outside of the graph, constants, or outputs of earlier steps; outputs are made by its own nodes. */
typedef struct slipway_compiled_step {
  uint32_t struct_size;
  const char* kernel; /* as in slipway_candidate; null: that of the candidate chosen for its first node */
  uint32_t num_nodes, num_inputs, num_outputs, num_packed;
  const uint32_t* nodes;
  const int32_t* inputs; /* indices of values; -1 = absent */
  const int32_t* outputs;
  const slipway_packed* packed;
  const void* blob; /* what the run side's load gets; at most SLIPWAY_MAX_BLOB bytes */
  uint64_t blob_size;
  uint64_t workspace_bytes; /* a bound; prepare has the last word */
  int32_t in_place;         /* output 0 may share this input's memory, -1: none */
} slipway_compiled_step;

#define SLIPWAY_MAX_BLOB ((uint64_t)1 << 30)

typedef struct slipway_step_sink {
  uint32_t struct_size;
  void* host;
  int (*add)(void* host, const slipway_compiled_step* step);
} slipway_step_sink;

typedef struct slipway_compiler {
  uint32_t struct_size;
  uint32_t abi_version; /* SLIPWAY_COMPILER_ABI_VERSION it was built with */
  const char* name;     /* that of the run side's slipway_backend; platforms name it under `backends` */
  const char* version;
  uint32_t level;
  const char* arch;     /* the only target that it compiles for; null or "any": every one */
  void* context;        /* passed back */

  /* node->num_nodes is 1. 0, or SLIPWAY_UNSUPPORTED with the reason in a few words ("dilation 3", "uint8 input"), which users read in compile's table. Ask about everything that the
   * run side would refuse. */
  int (*supports)(void* context, const slipway_graph* node, const slipway_target* target, slipway_error* reason);
  /* At least one for a node that is supported. */
  int (*candidates)(void* context, const slipway_graph* node, const slipway_target* target, const slipway_candidate_sink* sink, slipway_error* error);
  /* Every node of the graph belongs to exactly one step; every value that is read outside of the graph, or by another step, is an output of one. `chosen` names the kernel of the
   * candidate chosen for each node. */
  int (*compile)(void* context, const slipway_graph* graph, const char* const* chosen, const slipway_target* target, const slipway_step_sink* sink, slipway_error* error);

  /* Whether the run side answers output_dims for this node, one whose outputs' extents depend on its inputs' data: not 0 = yes. Null (or absent when struct_size ends before it): no,
   * such nodes go to other backends. It gets a step of its own: node->num_nodes is 1 here and in compile. */
  int (*gives_data_dims)(void* context, const slipway_graph* node, const slipway_target* target);
} slipway_compiler;

/* A plugin with a compile side exports this symbol. Returns null when it cannot serve host_abi_version. */
typedef const slipway_compiler* (*slipway_compiler_entry)(uint32_t host_abi_version);
#define SLIPWAY_COMPILER_ENTRY "slipway_compiler_main"

#ifdef __cplusplus
}
#endif
#endif /* SLIPWAY_COMPILER_H_ */
