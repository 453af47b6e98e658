#include "formats/python_json.h"

#include <gtest/gtest.h>

#include <cmath>

namespace millrace {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

TEST(PythonJson, IsSpacedAsPythonDoes) {
  const OrderedJson value{{"b", {1, 2.5, nullptr, true}}, {"a", OrderedJson::object()}, {"c", OrderedJson::array()}};
  EXPECT_EQ(python_json(value), R"({"b": [1, 2.5, null, true], "a": {}, "c": []})");
  EXPECT_EQ(python_json(value, {.compact = true}), R"({"b":[1,2.5,null,true],"a":{},"c":[]})");
  EXPECT_EQ(python_json(Json(value), {.compact = true}), R"({"a":{},"b":[1,2.5,null,true],"c":[]})");  // sort_keys=True
}

TEST(PythonJson, WritesNumbersAsPythonDoes) {
  // The first three are examples of what dump() writes with another digit, or with an exponent.
  const Json numbers{0.003215718583555748, -4.4038461395884116e+182, 3232329041051382.0, 1e-5, 16, -16, 1.0, 1e16};
  EXPECT_EQ(python_json(numbers),
            "[0.003215718583555748, -4.4038461395884116e+182, 3232329041051382.0, 1e-05, 16, -16, 1.0, 1e+16]");
  EXPECT_EQ(python_json(Json{NAN, HUGE_VAL}), "[null, null]");
}

TEST(PythonJson, EscapesTextAsPythonDoes) {
  const Json text = "Zürich \"\\\n\x7f";
  EXPECT_EQ(python_json(text), R"("Z\u00fcrich \"\\\n\u007f")");
  EXPECT_EQ(python_json(text, {.ensure_ascii = false}), "\"Zürich \\\"\\\\\\n\x7f\"");
  EXPECT_EQ(python_json(Json("\xff")), R"("\ufffd")");
  EXPECT_THROW(python_json(Json("\xff"), {.ensure_ascii = false}), Json::type_error);
}

}  // namespace
}  // namespace millrace
