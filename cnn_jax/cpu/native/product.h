// One matrix product of the caller's arrays, in parts that threads take one after the other.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "configuration.h"

namespace cnn_jax {

// [rows, inner] times [inner, columns]. The result fills its array row by row; so does an operand, or
// column by column where it is transposed.
struct Product {
  Type type;
  int64_t rows;
  int64_t inner;
  int64_t columns;
  bool left_transposed;
  bool right_transposed;

  int64_t left_size() const { return rows * inner; }
  int64_t right_size() const { return inner * columns; }
  int64_t result_size() const { return rows * columns; }
};

// Reads a configuration. Where the numbers are not those of a product, returns false and says why.
bool parse(const int64_t* numbers, size_t count, Product* product, std::string* why);

// Whether oneDNN has a kernel; makes and keeps the primitives, so that a first run finds them.
bool supported(const Product& product, std::string* why);

// The operands are only read.
struct Factors {
  void* left;
  void* right;
  void* result;
};

// Calls a function with each number below the count, perhaps on several threads.
using ForEach = std::function<void(int64_t, const std::function<void(int64_t)>&)>;

// Throws on failure.
void run(const Product& product, const Factors& factors, const ForEach& for_each);

void clear_products();

}  // namespace cnn_jax
