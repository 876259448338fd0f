#pragma once
// IDX, the raw format of the MNIST family (yann.lecun.com/exdb/mnist): big-endian sizes, then
// bytes.

#include <string>

#include "base/status.h"
#include "data/npy.h"

namespace slipway::data {

// A file of unsigned bytes, plain or .gz, of 1 to 4 dimensions.
Result<NpyArray> ReadIdx(const std::string& path);

// Whether the file name is that of IDX data: ...-ubyte or ...-ubyte.gz (also the "idx3.ubyte"
// spelling).
bool IsIdxName(const std::string& path);
bool IsIdxImagesName(const std::string& path);
// train-images-idx3-ubyte.gz -> train-labels-idx1-ubyte; with or without .gz, whichever exists; ""
// when neither does.
std::string FindIdxLabels(const std::string& images_path);

}  // namespace slipway::data
