#include "formats/dtype.h"

#include "base/error.h"

namespace millrace {
namespace {

struct DTypeFacts {
  std::string_view name;
  size_t size;
  bool floating;
};

// In the order of the enumerators.
constexpr std::array<DTypeFacts, kAllDTypes.size()> kFacts = {{{"F64", 8, true},
                                                               {"F32", 4, true},
                                                               {"F16", 2, true},
                                                               {"BF16", 2, true},
                                                               {"F8_E4M3", 1, true},
                                                               {"F8_E5M2", 1, true},
                                                               {"I64", 8, false},
                                                               {"I32", 4, false},
                                                               {"I16", 2, false},
                                                               {"I8", 1, false},
                                                               {"U64", 8, false},
                                                               {"U32", 4, false},
                                                               {"U16", 2, false},
                                                               {"U8", 1, false},
                                                               {"BOOL", 1, false}}};

const DTypeFacts& facts(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  MILLRACE_CHECK(index < kFacts.size());
  return kFacts[index];
}

}  // namespace

size_t size_of(DType dtype) {
  return facts(dtype).size;
}

std::string_view dtype_name(DType dtype) {
  return facts(dtype).name;
}

std::optional<DType> parse_dtype(std::string_view name) {
  for (const DType dtype : kAllDTypes) {
    if (facts(dtype).name == name) return dtype;
  }
  return std::nullopt;
}

bool is_floating(DType dtype) {
  return facts(dtype).floating;
}

}  // namespace millrace
