#include "configuration.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace cnn_jax {
namespace {

constexpr double kMostElements = 1e12;
constexpr int64_t kVector = 16;      // channels
constexpr int64_t kMatrixUnits = 8;  // how much faster they make bfloat16
constexpr int64_t kElement = 10;     // an element read or written, in multiply-adds
constexpr int64_t kLongestStride = 1 << 16;  // oneDNN's integers overflow with far longer ones
constexpr int64_t kRow = 28;                 // outputs that its float32 kernels compute at once
constexpr int64_t kLargest = std::numeric_limits<int32_t>::max();

int64_t product(const std::vector<int64_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

// Takes numbers off the front of the list; an exhausted list reads as zeros, which are refused.
class Reader {
 public:
  Reader(const int64_t* numbers, size_t count) : numbers_(numbers), count_(count) {}

  int64_t next() { return position_ < count_ ? numbers_[position_++] : (missing_ = true, 0); }

  std::vector<int64_t> next(size_t count) {
    std::vector<int64_t> values(count);
    for (auto& value : values) value = next();
    return values;
  }

  bool exhausted() const { return position_ == count_ && !missing_; }

 private:
  const int64_t* numbers_;
  size_t count_;
  size_t position_ = 0;
  bool missing_ = false;
};

bool all_between(const std::vector<int64_t>& values, int64_t low, int64_t high) {
  for (int64_t value : values) {
    if (value < low || value > high) return false;
  }
  return true;
}

// Whether the strides address each of the array's elements once and nothing beyond them.
bool dense(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides) {
  std::vector<bool> placed(sizes.size(), false);
  int64_t expected = 1;
  for (size_t round = 0; round < sizes.size(); ++round) {
    bool found = false;
    for (size_t axis = 0; axis < sizes.size() && !found; ++axis) {
      if (placed[axis] || (sizes[axis] != 1 && strides[axis] != expected)) continue;
      placed[axis] = found = true;
      expected *= sizes[axis];
    }
    if (!found) return false;
  }
  return true;
}

// Whether at some place of the window none of its elements lies on the input. Other paddings being
// refused, that takes a dilation larger than the input.
bool jumps_over_input(int64_t input, int64_t output, int64_t window, int64_t stride,
                      int64_t dilation, int64_t padding_low) {
  if (input >= dilation) return false;
  for (int64_t place = 0; place < output; ++place) {
    const int64_t start = place * stride - padding_low;
    if (start >= 0) return false;
    const int64_t element = (-start + dilation - 1) / dilation;
    if (element >= window || start + element * dilation >= input) return true;
  }
  return false;
}

// Rows of up to 28 are computed at once, longer ones in parts of which the first must have all of the
// padding: oneDNN sees to that, but not where it halves the first part.
bool halves_padding(const Configuration& c) {
  const int64_t output = c.output.back();
  return c.kind == Kind::kKernelGradient && c.type == Type::kFloat32 && c.stride.back() > 1 &&
         kRow < output && output < 2 * kRow && c.padding_low.back() > kRow / 2;
}

// Where a window is deeper than the picture, its general kernel adds up memory that it never wrote.
bool is_deeper_than_picture(const Configuration& c) {
  const int64_t reach = (c.window.front() - 1) * c.dilation.front() + 1;
  return c.kind == Kind::kKernelGradient && c.type == Type::kBfloat16 && c.window.size() == 3 &&
         reach > c.input.front();
}

// Its kernel gradient in 3-D goes over the edge of its array, where with a stride windows begin to leave
// the picture before they are wholly on it.
bool leaves_before_it_enters(const Configuration& c) {
  if (c.kind != Kind::kKernelGradient || c.window.size() != 3 || c.stride.front() == 1) return false;
  const int64_t stride = c.stride.front(), low = c.padding_low.front();
  const int64_t reach = (c.window.front() - 1) * c.dilation.front() + 1;
  return low > 0 && c.input.front() + low - reach < stride * divided_up(low, stride);
}

// Its bfloat16 kernel gradient takes long rows in parts, and where windows are dilated along another
// axis adds up memory that it never wrote, of vectors of channels that the picture doesn't fill.
bool takes_rows_in_parts(const Configuration& c) {
  const int64_t channels = c.in_channels / c.groups;
  const int64_t row = c.input.back() + c.padding_low.back() + c.padding_high.back();
  return c.kind == Kind::kKernelGradient && c.type == Type::kBfloat16 &&
         channels % 16 != 0 && row > 32 &&
         std::any_of(c.dilation.begin(), c.dilation.end() - 1, [](int64_t d) { return d > 1; });
}

// Why oneDNN's own kernels, though there is one, are not to be used; or nothing.
const char* fault(const Configuration& c) {
  if (halves_padding(c)) {
    return "oneDNN halves the rows of such a kernel gradient inside the padding";
  }
  if (leaves_before_it_enters(c)) {
    return "oneDNN's kernel gradient goes wrong where strided windows are about as deep as the picture";
  }
  if (is_deeper_than_picture(c)) {
    return "oneDNN's bfloat16 kernel gradient is wrong where the window is deeper than the picture";
  }
  if (takes_rows_in_parts(c)) {
    return "oneDNN's bfloat16 kernel gradient is wrong for long rows of a dilated window";
  }
  return nullptr;
}

std::vector<int64_t> with_front(std::vector<int64_t> front, const std::vector<int64_t>& rest) {
  front.insert(front.end(), rest.begin(), rest.end());
  return front;
}

}  // namespace

int64_t Configuration::source_size() const { return batch * in_channels * product(input); }

int64_t Configuration::weights_size() const {
  return out_channels * (in_channels / groups) * product(window);
}

int64_t Configuration::destination_size() const { return batch * out_channels * product(output); }

int64_t Configuration::channels_of_result() const {
  return kind == Kind::kInputGradient ? in_channels : out_channels;
}

int64_t Configuration::images() const { return batch * groups; }

int64_t Configuration::work() const { return work_by(type == Type::kBfloat16 ? kMatrixUnits : 1); }

int64_t Configuration::vector_work() const { return work_by(1); }

int64_t Configuration::work_by(int64_t faster) const {
  // A result of few channels is computed in vectors that are partly empty.
  const int64_t channels = channels_of_result();
  const int64_t filled = (channels + kVector - 1) / kVector * kVector;
  const int64_t multiply_adds = destination_size() * (in_channels / groups) * product(window);
  return multiply_adds / channels * filled / faster +
         kElement * (source_size() + destination_size());
}

int64_t Configuration::copying() const {
  return kElement * batch * in_channels * product(window) * product(output);
}

bool has_channels_last(int64_t batch, int64_t channels, const std::vector<int64_t>& sizes,
                       const std::vector<int64_t>& strides) {
  int64_t expected = channels;
  bool last = channels == 1 || strides[1] == 1;
  for (size_t axis = sizes.size(); axis-- > 0; expected *= sizes[axis]) {
    last &= sizes[axis] == 1 || strides[axis + 2] == expected;
  }
  return last && (batch == 1 || strides[0] == expected);
}

bool parse(const int64_t* numbers, size_t count, Configuration* result, std::string* why) {
  Reader reader(numbers, count);
  Configuration c{};
  if (reader.next() != kConfigurationFormat) {
    *why = "the configuration is of another version of the library";
    return false;
  }
  const int64_t kind = reader.next();
  const int64_t method = reader.next();
  const int64_t after = reader.next();
  const int64_t type = reader.next();
  const int64_t rank = reader.next();
  if (kind < 0 || kind > 2 || method < 0 || method > 7 || after < 0 || after > 2 || type < 0 ||
      type > 1 || rank < 1 || rank > 3) {
    *why = "unknown kind, method, epilogue, type or rank";
    return false;
  }
  const auto spatial = static_cast<size_t>(rank);
  c.kind = static_cast<Kind>(kind);
  c.method = static_cast<Method>(method);
  c.after = static_cast<After>(after);
  c.type = static_cast<Type>(type);
  c.groups = reader.next();
  c.batch = reader.next();
  c.in_channels = reader.next();
  c.out_channels = reader.next();
  c.input = reader.next(spatial);
  c.output = reader.next(spatial);
  c.window = reader.next(spatial);
  c.stride = reader.next(spatial);
  c.dilation = reader.next(spatial);
  c.padding_low = reader.next(spatial);
  c.padding_high = reader.next(spatial);
  c.source_strides = reader.next(spatial + 2);
  c.weights_strides = reader.next(spatial + 3);
  c.destination_strides = reader.next(spatial + 2);
  if (!reader.exhausted()) {
    *why = "the configuration has the wrong length";
    return false;
  }

  const std::vector<int64_t> counts = {c.groups, c.batch, c.in_channels, c.out_channels};
  for (const auto& sizes : {counts, c.input, c.output, c.window, c.stride, c.dilation}) {
    if (!all_between(sizes, 1, kLargest)) {
      *why = "a size is zero, negative or too large";
      return false;
    }
  }
  if (c.in_channels % c.groups != 0 || c.out_channels % c.groups != 0) {
    *why = "the groups do not divide the channels";
    return false;
  }
  for (size_t axis = 0; axis < spatial; ++axis) {
    if (c.stride[axis] > kLongestStride) {
      *why = "the stride is too long";
      return false;
    }
    if (c.window[axis] > 1 && c.dilation[axis] > kLargest / c.window[axis]) {
      *why = "the dilated window is too large";
      return false;
    }
    // oneDNN reads past its input where the padding covers a whole window.
    const int64_t reach = (c.window[axis] - 1) * c.dilation[axis] + 1;
    const int64_t low = c.padding_low[axis];
    const int64_t high = c.padding_high[axis];
    if (low < 0 || high < 0 || low >= reach || high >= reach) {
      *why = "the padding is negative or as large as the dilated window";
      return false;
    }
    const int64_t room = c.input[axis] + low + high - reach;
    if (room < 0 || room / c.stride[axis] + 1 != c.output[axis]) {
      *why = "the output's size does not follow from the input's";
      return false;
    }
    // oneDNN's bfloat16 kernels for matrix units crash while they are made.
    if (jumps_over_input(c.input[axis], c.output[axis], c.window[axis], c.stride[axis],
                         c.dilation[axis], low)) {
      *why = "the dilated window jumps over the input";
      return false;
    }
  }

  if (const char* reason = c.method == Method::kDirect ? fault(c) : nullptr) {
    *why = reason;
    return false;
  }

  const std::pair<std::vector<int64_t>, const std::vector<int64_t>&> arrays[] = {
      {with_front({c.batch, c.in_channels}, c.input), c.source_strides},
      {with_front({c.groups, c.out_channels / c.groups, c.in_channels / c.groups}, c.window),
       c.weights_strides},
      {with_front({c.batch, c.out_channels}, c.output), c.destination_strides}};
  for (const auto& [sizes, strides] : arrays) {
    double elements = 1;
    for (int64_t size : sizes) elements *= static_cast<double>(size);
    if (elements > kMostElements || !dense(sizes, strides)) {
      *why = "an array is too large, or not dense";
      return false;
    }
  }
  *result = std::move(c);
  return true;
}

}  // namespace cnn_jax
