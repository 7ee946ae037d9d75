#include "product.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <thread>
#include <tuple>
#include <utility>

#include "onednn.h"
#include "primitives.h"
#include "store.h"
#include "threads.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

using dnnl::memory;

constexpr int64_t kFormat = 1;
constexpr int64_t kLongest = int64_t{1} << 31;  // oneDNN's kernels count in 32 bits
constexpr int64_t kMostElements = int64_t{1} << 40;
constexpr size_t kKept = 512;  // products whose primitives are kept

// A part of less work than this, in multiply-adds, is done sooner than another thread has begun it.
constexpr int64_t kWorthAThread = 2'500'000;
constexpr int64_t kElement = 4;  // an element read or written, in multiply-adds
constexpr int64_t kVector = 16;  // sets of columns begin at multiples of it

// The products of more multiply-adds than fit are not told apart from the largest.
int64_t work(const Product& p) {
  const double sums = static_cast<double>(p.rows) * static_cast<double>(p.inner) *
                      static_cast<double>(p.columns);
  const int64_t elements = p.left_size() + p.right_size() + p.result_size();
  return static_cast<int64_t>(std::min(sums, 1e18)) + kElement * elements;
}

int64_t parts_worth_sharing(const Product& p) {
  const int64_t processors = std::max(1u, std::thread::hardware_concurrency());
  return std::clamp<int64_t>(work(p) / kWorthAThread, 1, processors);
}

// A matrix in memory, by the distances between neighbours of a column and of a row.
struct Matrix {
  Matrix(int64_t rows, int64_t columns, bool transposed)
      : down(transposed ? 1 : columns), along(transposed ? rows : 1) {}

  memory::desc described(int64_t rows, int64_t columns, memory::data_type type) const {
    return memory::desc({rows, columns}, type, {down, along});
  }

  int64_t down, along;
};

struct Multiplication {
  dnnl::matmul kernel;
  memory::desc left, right, result, scratchpad;
};

Multiplication multiplication(const memory::desc& left, const memory::desc& right,
                              const memory::desc& result) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attributes.set_fpmath_mode(dnnl::fpmath_mode::strict);
  const ThreadCount one(1);  // each thread takes its own part
  const dnnl::matmul::primitive_desc descriptor(engine(), left, right, result, attributes);
  refuse_reference(descriptor.impl_info_str());
  return {dnnl::matmul(descriptor), left, right, result, descriptor.scratchpad_desc()};
}

// A product cut into sets of the result's columns or of its rows, all alike but the last.
struct Parts {
  int64_t count;
  int64_t left_step, right_step, result_step;  // elements from one part to the next
  Multiplication each;
  Multiplication last;
};

std::shared_ptr<const Parts> make_parts(const Product& p) {
  auto parts = std::make_shared<Parts>();
  const Matrix left(p.rows, p.inner, p.left_transposed);
  const Matrix right(p.inner, p.columns, p.right_transposed);
  const Matrix result(p.rows, p.columns, false);
  // Sets of rows are written, and mostly read, as one run.
  const bool by_columns = p.columns >= 2 * p.rows;
  int64_t rows = p.rows, columns = p.columns;
  int64_t& divided = by_columns ? columns : rows;
  const int64_t whole = divided;
  const int64_t share = divided_up(whole, parts_worth_sharing(p));
  const int64_t step =
      by_columns ? std::min(whole, divided_up(share, kVector) * kVector) : share;
  const int64_t count = divided_up(whole, step);
  parts->count = count;
  const auto made = [&](int64_t size) {
    divided = size;
    return multiplication(left.described(rows, p.inner, element(p.type)),
                          right.described(p.inner, columns, element(p.type)),
                          result.described(rows, columns, element(p.type)));
  };
  parts->each = made(step);
  parts->last = made(whole - (count - 1) * step);
  parts->left_step = by_columns ? 0 : step * left.down;
  parts->right_step = by_columns ? step * right.along : 0;
  parts->result_step = step * (by_columns ? result.along : result.down);
  return parts;
}

using Key = std::tuple<Type, int64_t, int64_t, int64_t, bool, bool>;

// Never destroyed: threads of the host may still be running when the process ends.
Store<Key, Parts>& store() {
  static auto& instance = *std::make_unique<Store<Key, Parts>>(kKept).release();
  return instance;
}

std::shared_ptr<const Parts> find_parts(const Product& p) {
  const Key key(p.type, p.rows, p.inner, p.columns, p.left_transposed, p.right_transposed);
  return store().find(key, [&] { return make_parts(p); });
}

void* at(void* data, int64_t offset) { return static_cast<char*>(data) + offset; }

}  // namespace

bool parse(const int64_t* numbers, size_t count, Product* product, std::string* why) {
  if (count != 7 || numbers[0] != kFormat) {
    *why = "the configuration is of another version of the library";
    return false;
  }
  for (int i : {1, 5, 6}) {
    if (numbers[i] != 0 && numbers[i] != 1) {
      *why = "unknown type or order";
      return false;
    }
  }
  for (int i : {2, 3, 4}) {
    if (numbers[i] < 1 || numbers[i] >= kLongest) {
      *why = "a size is zero, negative or too large";
      return false;
    }
  }
  const Product p{static_cast<Type>(numbers[1]), numbers[2],      numbers[3], numbers[4],
                  numbers[5] == 1,               numbers[6] == 1};
  if (std::max({p.left_size(), p.right_size(), p.result_size()}) > kMostElements) {
    *why = "an array is too large";
    return false;
  }
  *product = p;
  return true;
}

bool supported(const Product& product, std::string* why) {
  try {
    find_parts(product);
    return true;
  } catch (const std::exception& error) {
    *why = error.what();
    return false;
  }
}

void run(const Product& p, const Factors& factors, const ForEach& for_each) {
  const auto parts = find_parts(p);
  for_each(parts->count, [&](int64_t number) {
    const ThreadCount one(1);
    const Multiplication& m = number + 1 < parts->count ? parts->each : parts->last;
    const Workspace scratch(m.scratchpad.get_size());
    memory from_left(m.left, engine(), at(factors.left, number * parts->left_step * bytes(p.type)));
    memory from_right(m.right, engine(), at(factors.right, number * parts->right_step * bytes(p.type)));
    memory to(m.result, engine(), at(factors.result, number * parts->result_step * bytes(p.type)));
    memory scratchpad(m.scratchpad, engine(), scratch.data());
    m.kernel.execute(stream(), {{DNNL_ARG_SRC, from_left},
                                {DNNL_ARG_WEIGHTS, from_right},
                                {DNNL_ARG_DST, to},
                                {DNNL_ARG_SCRATCHPAD, scratchpad}});
    stream().wait();
  });
}

void clear_products() { store().clear(); }

}  // namespace cnn_jax
