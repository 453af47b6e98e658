#include "formats/npy.h"

#include "base/error.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

using testing::HasSubstr;

std::string npy_text(std::string_view header, size_t data_bytes, int version = 1) {
  std::string text = "\x93NUMPY";
  text += static_cast<char>(version);
  text += '\0';
  const auto length = static_cast<uint32_t>(header.size());
  text.append(reinterpret_cast<const char*>(&length), version == 1 ? 2 : 4);
  return text.append(header).append(data_bytes, '\0');
}

std::string failure(std::string_view text) {
  return message_of<DataError>([&] { parse_npy(as_bytes(text), "a.npy"); });
}

class Npy : public FolderTest {};

TEST_F(Npy, ReadsBackWhatItWrote) {
  const std::vector<int16_t> values = {1, -2, 3, 4, 5, 6};
  write_npy(path("a.npy"), DType::kI16, std::vector<int64_t>{2, 3}, bytes_of(values));
  const NpyFile file(path("a.npy"));
  EXPECT_EQ(file.array().dtype, DType::kI16);
  EXPECT_EQ(file.array().shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(file.array().bytes.data(), values.data(), 12), 0);
  // What numpy 2 writes for numpy.array([[1, -2, 3], [4, 5, 6]], numpy.int16), up to the padding.
  EXPECT_EQ(read("a.npy").find("{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }"), 10u);
  EXPECT_EQ(read("a.npy").size(), 128u + 12u);
}

TEST_F(Npy, WritesBFloat16AsItsBits) {
  const std::vector<uint16_t> values = {0x3F80, 0xC000};
  write_npy(path("a.npy"), DType::kBF16, std::vector<int64_t>{2}, bytes_of(values));
  EXPECT_THAT(read("a.npy"), HasSubstr("'descr': '<u2', 'fortran_order': False, 'shape': (2,), }"));
  EXPECT_EQ(NpyFile(path("a.npy")).array().dtype, DType::kU16);
}

TEST(NpyParser, ReadsScalarsEveryVersionAndOtherSpacing) {
  const std::string scalar = npy_text("{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n", 8);
  EXPECT_TRUE(parse_npy(as_bytes(scalar), "x").shape.empty());
  for (const int version : {1, 2, 3}) {
    const std::string text = npy_text("{\"shape\":(2,3),\"descr\":'|b1','fortran_order':False}", 6, version);
    EXPECT_EQ(parse_npy(as_bytes(text), "x").dtype, DType::kBool);
  }
  const std::string bf16 = npy_text("{'descr': '<V2', 'fortran_order': False, 'shape': (1,), }", 2);
  EXPECT_EQ(parse_npy(as_bytes(bf16), "x").dtype, DType::kBF16);
}

TEST(NpyParser, SaysWhatItDoesNotRead) {
  const auto header = [](const char* descr, const char* order, const char* shape) {
    return std::string("{'descr': ") + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }";
  };
  EXPECT_THAT(failure(npy_text(header("'>f4'", "False", "(1,)"), 4)),
              HasSubstr("expected a little-endian element type"));
  EXPECT_THAT(failure(npy_text(header("'|O'", "False", "(1,)"), 8)), HasSubstr("got \"|O\""));
  EXPECT_THAT(failure(npy_text(header("[('a','<f4')]", "False", "(1,)"), 4)),
              HasSubstr("structured types are not read"));
  EXPECT_THAT(failure(npy_text(header("'<f4'", "True", "(1,)"), 4)), HasSubstr("expected row-major order"));
  EXPECT_THAT(failure(npy_text(header("'<f4'", "False", "(2,)"), 4)), HasSubstr("expected 8 bytes for F32 [2], got 4"));
  EXPECT_THAT(failure(npy_text(header("'<f4'", "False", "(-1,)"), 4)), HasSubstr("expected a dimension"));
  EXPECT_THAT(failure(npy_text(header("'<f4'", "False", "(99999999999999999999,)"), 4)), HasSubstr("below 2^63"));
  EXPECT_THAT(failure(npy_text(header("'<f4'", "False", "(4611686018427387904,4)"), 4)), HasSubstr("below 2^63 bytes"));
  EXPECT_THAT(failure(npy_text("{'descr': '<f4'}", 4)), HasSubstr("expected the keys"));
  EXPECT_THAT(failure(npy_text(header("'<f4'", "False", "(1,)") + "x", 4)),
              HasSubstr("expected the end of the header"));
  EXPECT_THAT(failure("PK"), HasSubstr("expected a .npy file"));
  EXPECT_THAT(failure(npy_text("{}", 0, 9)), HasSubstr("version 1 to 3"));
  EXPECT_THAT(failure(npy_text(std::string(70000, ' '), 0, 2)), HasSubstr("at most 65536 bytes"));
}

TEST(NpyParser, RefusesEveryTruncation) {
  const std::string text = npy_text("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", 16);
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_THROW(parse_npy(as_bytes(text).first(size), "x"), DataError) << size;
  }
}

}  // namespace
}  // namespace millrace
