// Caffe import: the bytes up to the first NUL are the prototxt, what follows is the caffemodel.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "model/frontends/caffe/import.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const uint8_t* end = std::find(data, data + size, uint8_t{0});
  const std::string_view text(reinterpret_cast<const char*>(data), static_cast<size_t>(end - data));
  const size_t used = std::min(size, text.size() + 1);
  slipway::caffe::ImportOptions options;
  (void)slipway::caffe::ImportCaffeBytes(text, {data + used, size - used},
                                         std::make_shared<int>(0), options)
      .ok();
  return 0;
}
