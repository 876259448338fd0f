#include "engine/backends/onednn/run/openmp.h"

#include <unistd.h>

#include <cstdlib>
#include <thread>

namespace slipway::backends::onednn {

void ShortenSpinning() {
  static const bool done = [] {
    if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return true;
    std::thread([] {
      GOMP_parallel([](void*) {}, nullptr, static_cast<unsigned>(omp_get_num_procs()) + 1, 0);
      for (;;) pause();  // the team lives as long as its master
    }).detach();
    return true;
  }();
  (void)done;
}

}  // namespace slipway::backends::onednn
