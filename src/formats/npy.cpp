#include "formats/npy.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/atomic_file.h"
#include "formats/quote.h"
#include "formats/safetensors.h"

namespace millrace {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

struct Descr {
  std::string_view text;
  DType dtype;
};

// The first line of a dtype is written; all are read. '=' is native order, which is little-endian here.
constexpr std::array<Descr, 19> kDescrs = {{{"<f8", DType::kF64},
                                            {"<f4", DType::kF32},
                                            {"<f2", DType::kF16},
                                            {"<i8", DType::kI64},
                                            {"<i4", DType::kI32},
                                            {"<i2", DType::kI16},
                                            {"|i1", DType::kI8},
                                            {"<u8", DType::kU64},
                                            {"<u4", DType::kU32},
                                            {"<u2", DType::kU16},
                                            {"|u1", DType::kU8},
                                            {"|b1", DType::kBool},
                                            {"<u2", DType::kBF16},
                                            {"|u1", DType::kF8E4M3},
                                            {"|u1", DType::kF8E5M2},
                                            {"<V2", DType::kBF16},
                                            {"|V2", DType::kBF16},
                                            {"<i1", DType::kI8},
                                            {"<u1", DType::kU8}}};

std::string_view descr_of(DType dtype) {
  return std::find_if(kDescrs.begin(), kDescrs.end(), [&](const Descr& d) { return d.dtype == dtype; })->text;
}

std::optional<DType> dtype_of(std::string_view descr) {
  const auto found = std::find_if(kDescrs.begin(), kDescrs.end(), [&](const Descr& d) { return d.text == descr; });
  return found == kDescrs.end() ? std::nullopt : std::optional(found->dtype);
}

// The header is a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderReader {
 public:
  HeaderReader(std::string_view text, std::string_view place) : text_(text), place_(place) {}

  NpyArray read() {
    NpyArray array;
    bool has_descr = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string_view key = quoted_text();
      expect(':');
      if (key == "descr" && !has_descr) {
        const std::string_view descr = quoted_text();
        const auto dtype = dtype_of(descr);
        if (!dtype) fail("a little-endian element type of 1 to 8 bytes", in_quotes(descr));
        array.dtype = *dtype;
        has_descr = true;
      } else if (key == "fortran_order" && !has_order) {
        if (accept("True")) fail("row-major order (try numpy.ascontiguousarray)", "fortran_order True");
        if (!accept("False")) fail("True or False", rest());
        has_order = true;
      } else if (key == "shape" && !has_shape) {
        array.shape = tuple();
        has_shape = true;
      } else {
        fail("the keys descr, fortran_order and shape once each", in_quotes(key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (position_ != text_.size()) fail("the end of the header", rest());
    if (!has_descr || !has_order || !has_shape) fail("the keys descr, fortran_order and shape", "fewer");
    return array;
  }

 private:
  [[noreturn]] void fail(const std::string& expected, const std::string& got) const {
    throw DataError(str("[", place_, ", npy header] expected ", expected, ", got ", got));
  }
  std::string rest() const { return position_ == text_.size() ? "the end" : in_quotes(text_.substr(position_), 20); }
  void skip_space() {
    while (position_ < text_.size() && (text_[position_] == ' ' || text_[position_] == '\n')) ++position_;
  }
  bool accept(std::string_view token) {
    skip_space();
    if (!starts_with(text_.substr(position_), token)) return false;
    position_ += token.size();
    return true;
  }
  bool accept(char token) { return accept(std::string_view(&token, 1)); }
  void expect(char token) {
    if (!accept(token)) fail(std::string("'") + token + "'", rest());
  }
  std::string_view quoted_text() {
    const char quote = accept('\'') ? '\'' : accept('"') ? '"' : '\0';
    const size_t end = quote ? text_.find(quote, position_) : std::string_view::npos;
    if (end == std::string_view::npos) fail("text in quotes (structured types are not read)", rest());
    const std::string_view result = text_.substr(position_, end - position_);
    position_ = end + 1;
    return result;
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> sizes;
    expect('(');
    while (!accept(')')) {
      if (sizes.size() == kMaxTensorRank) fail(str("at most ", kMaxTensorRank, " dimensions"), "more");
      sizes.push_back(number());
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return sizes;
  }
  int64_t number() {
    skip_space();
    const size_t begin = position_;
    int64_t value = 0;
    for (; position_ < text_.size() && text_[position_] >= '0' && text_[position_] <= '9'; ++position_) {
      if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, text_[position_] - '0', &value)) {
        fail("dimensions below 2^63", "more");
      }
    }
    if (position_ == begin) fail("a dimension", rest());
    return value;
  }

  std::string_view text_;
  std::string_view place_;
  size_t position_ = 0;
};

}  // namespace

NpyArray parse_npy(std::span<const std::byte> bytes, std::string_view place) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!starts_with(text, kMagic) || text.size() < 10)
    throw DataError(str("[", place, "] expected a .npy file, got another"));
  const int version = static_cast<unsigned char>(text[6]);
  if (version < 1 || version > 3) throw DataError(str("[", place, "] expected .npy version 1 to 3, got ", version));
  const size_t length_bytes = version == 1 ? 2 : 4;
  uint32_t header_bytes = 0;
  const size_t header_begin = kMagic.size() + 2 + length_bytes;
  if (text.size() >= header_begin) std::memcpy(&header_bytes, text.data() + kMagic.size() + 2, length_bytes);
  if (text.size() < header_begin || header_bytes > kMaxNpyHeaderBytes || header_bytes > text.size() - header_begin) {
    throw DataError(str("[", place, ", byte 8] expected an npy header of at most ", kMaxNpyHeaderBytes,
                        " bytes within the file, got a length of ", header_bytes));
  }
  NpyArray array = HeaderReader(text.substr(header_begin, header_bytes), place).read();
  const auto wanted = byte_count(array.dtype, array.shape);
  if (!wanted) throw DataError(str("[", place, "] expected a shape below 2^63 bytes, got ", shape_text(array.shape)));
  array.bytes = bytes.subspan(header_begin + header_bytes);
  if (array.bytes.size() != *wanted) {
    throw DataError(str("[", place, "] expected ", *wanted, " bytes for ", dtype_name(array.dtype), " ",
                        shape_text(array.shape), ", got ", array.bytes.size()));
  }
  return array;
}

std::string npy_header(DType dtype, std::span<const int64_t> shape) {
  std::string header = str("{'descr': '", descr_of(dtype), "', 'fortran_order': False, 'shape': (");
  for (size_t i = 0; i < shape.size(); ++i) header += (i ? ", " : "") + std::to_string(shape[i]);
  header += shape.size() == 1 ? ",), }" : "), }";
  // numpy leaves room to grow the first dimension to 21 digits in place.
  if (!shape.empty()) header.append(21 - std::min<size_t>(21, std::to_string(shape[0]).size()), ' ');
  // The data begins on a multiple of 64 bytes, with at least one byte of padding, as in numpy.
  const auto padded = [&](size_t before) { return (before + header.size() + 1) / 64 * 64 + 64 - before; };
  const bool needs_version_2 = padded(10) > 0xFFFF;
  const auto header_bytes = static_cast<uint32_t>(padded(needs_version_2 ? 12 : 10));
  header.resize(header_bytes - 1, ' ');
  header += '\n';

  std::string start(kMagic);
  start += needs_version_2 ? '\x02' : '\x01';
  start += '\0';
  start.append(reinterpret_cast<const char*>(&header_bytes), needs_version_2 ? 4 : 2);
  return start + header;
}

void write_npy(const std::filesystem::path& path, DType dtype, std::span<const int64_t> shape,
               std::span<const std::byte> bytes) {
  const auto wanted = byte_count(dtype, shape);
  MILLRACE_CHECK(wanted && *wanted == bytes.size());
  AtomicFile file(path);
  file.writer().write(npy_header(dtype, shape));
  if (!bytes.empty()) file.writer().write(bytes.data(), bytes.size());
  file.commit();
}

}  // namespace millrace
