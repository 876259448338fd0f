#pragma once
// What passes on control flow share: the nodes of a body in the graph around it.

#include <span>
#include <vector>

#include "model/passes/rewrite.h"

namespace slipway::passes {

// Adds the body's nodes to `graph` in front of `before`, with `inputs` for the body's inputs.
// Returns what stands for the body's outputs; values of the body that are constants become
// constants that share their bytes.
std::vector<Value*> InlineBody(Graph& graph, const Graph& body, std::span<Value* const> inputs,
                               Node* before);

// `value` takes the place of the node's output `i`, by an Identity where nothing else keeps a graph
// output's name.
void ReplaceOutput(Graph& graph, Node* node, size_t i, Value* value);

// Nodes of the graph and of all bodies in it.
int64_t CountNodes(const Graph& graph);

}  // namespace slipway::passes
