#pragma once
// The C99 functions that a generated file may need, as text.

#include <set>
#include <span>
#include <string>
#include <string_view>

namespace slipway::backends::csource {

struct Piece {
  const char* name;
  const char* needs;  // names with spaces between
  const char* text;
};
std::span<const Piece> ResizePieces();
std::span<const Piece> ElementPieces();
std::span<const Piece> SequencePieces();
std::span<const Piece> ShapePieces();
std::span<const Piece> SignalPieces();

// The text of the named pieces and of all that they need, each once, in an order that compiles.
// Names: see kernels*.cc; "instance:" is a piece with its places filled in (SourceWriter::Instance).
std::string KernelText(const std::set<std::string>& names);

}  // namespace slipway::backends::csource
