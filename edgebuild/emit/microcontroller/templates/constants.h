// What firmware needs to know of the network $title beside its weights.
// Made by edgebuild.
#ifndef ${guard}_CONSTANTS_H_
#define ${guard}_CONSTANTS_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace ${id}_model {

$arena

// The stored integer of a real value: rounded half away from zero, then saturated, as TensorFlow Lite does it.
template <typename Stored>
inline Stored Quantize(float real, float scale, int zero_point) {
  const float stored = std::round(real / scale) + static_cast<float>(zero_point);
  // Compared so that NaN becomes the lowest: to convert it would be undefined.
  if (!(stored > static_cast<float>(std::numeric_limits<Stored>::min()))) return std::numeric_limits<Stored>::min();
  if (stored >= static_cast<float>(std::numeric_limits<Stored>::max())) return std::numeric_limits<Stored>::max();
  return static_cast<Stored>(stored);
}

// The real value of a stored integer.
template <typename Stored>
inline float Dequantize(Stored stored, float scale, int zero_point) {
  return (static_cast<float>(stored) - static_cast<float>(zero_point)) * scale;
}
$preprocess
constexpr int kInputCount = $inputs;
constexpr int kOutputCount = $outputs;
$tensors$variables$labels
}  // namespace ${id}_model

#endif  // ${guard}_CONSTANTS_H_
