#include "sliding.h"

namespace cnn_jax {

Sliding::Sliding(const Configuration& c) : batch(c.batch), weights_start(0) {
  const bool reversed = c.kind == Kind::kInputGradient;
  const auto& from = reversed ? c.destination_strides : c.source_strides;
  const auto& to = reversed ? c.source_strides : c.destination_strides;
  given_image = from[0];
  result_image = to[0];
  const size_t missing = 3 - c.window.size();
  for (size_t axis = 0; axis < 3; ++axis) {
    if (axis < missing) {
      given[axis] = spread[axis] = result[axis] = window[axis] = stride[axis] = dilation[axis] = 1;
      low[axis] = given_stride[axis] = result_stride[axis] = weights_stride[axis] = 0;
      continue;
    }
    const size_t i = axis - missing;
    window[axis] = c.window[i];
    dilation[axis] = c.dilation[i];
    given_stride[axis] = from[i + 2];
    result_stride[axis] = to[i + 2];
    weights_stride[axis] = c.weights_strides[i + 3];
    if (reversed) {
      given[axis] = c.output[i];
      spread[axis] = c.stride[i];
      result[axis] = c.input[i];
      stride[axis] = 1;
      low[axis] = (window[axis] - 1) * dilation[axis] - c.padding_low[i];
      weights_start += (window[axis] - 1) * weights_stride[axis];
      weights_stride[axis] = -weights_stride[axis];
    } else {
      given[axis] = c.input[i];
      spread[axis] = 1;
      result[axis] = c.output[i];
      stride[axis] = c.stride[i];
      low[axis] = c.padding_low[i];
    }
  }
}

}  // namespace cnn_jax
