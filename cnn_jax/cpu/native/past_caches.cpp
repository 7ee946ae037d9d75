#include "past_caches.h"

#include <unistd.h>

#include <algorithm>

namespace cnn_jax {
namespace {

constexpr int64_t kVector = 16;
constexpr uintptr_t kAlignment = 64;
// Measured with 32 MB that the cores share: a third of them is still there when it is read next; and
// with 300 MB, which far more cores share than the process has: a tenth.
constexpr int64_t kKept = 10 << 20, kPart = 10;

int64_t last_cache() {
#ifdef _SC_LEVEL3_CACHE_SIZE
  return std::max<int64_t>(0, sysconf(_SC_LEVEL3_CACHE_SIZE));
#else
  return 0;
#endif
}

bool whole(int64_t numbers) { return numbers % kVector == 0; }

}  // namespace

int64_t kept_in_caches() {
  static const int64_t bytes = std::max(kKept, last_cache() / kPart);
  return bytes;
}

bool stored_past_caches(const Sliding& s, int64_t channels, Type type, const void* result) {
  const int64_t numbers = s.batch * s.rows() * s.result[2] * channels;
  return numbers * bytes(type) > kept_in_caches() && whole(channels) && whole(s.result_image) &&
         std::all_of(s.result_stride, s.result_stride + 3, whole) &&
         reinterpret_cast<uintptr_t>(result) % kAlignment == 0;
}

}  // namespace cnn_jax
