// What Python 3.11's json.loads reads and refuses; tests/parity/test_json.py compares many more with Python itself.
#include "formats/read_python_json.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"
#include "formats/json_cast.h"
#include "formats/json_type.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

using namespace std::string_literals;
using Json = nlohmann::ordered_json;
using testing::HasSubstr;

TEST(ReadPythonJson, ReadsNumbersThatJsonHasNot) {
  EXPECT_TRUE(std::isnan(parse_python_json("NaN", "f").get<double>()));
  for (const auto& [text, value] : {std::pair{"Infinity", HUGE_VAL},
                                    {"-Infinity", -HUGE_VAL},
                                    {"1e999", HUGE_VAL},
                                    {"-1E+999", -HUGE_VAL},
                                    {"1e-999", 0.0},
                                    {"-2.5e3", -2500.0}}) {
    EXPECT_EQ(parse_python_json(text, "f").get<double>(), value) << text;
  }
  EXPECT_EQ(parse_python_json("18446744073709551615", "f").get<uint64_t>(), UINT64_MAX);
  EXPECT_EQ(parse_python_json("-9223372036854775808", "f").get<int64_t>(), INT64_MIN);
  EXPECT_TRUE(parse_python_json("18446744073709551616", "f").is_binary());
  EXPECT_TRUE(parse_python_json(std::string(4300, '1'), "f").is_binary());
}

TEST(ReadPythonJson, OfARepeatedKeyTheLastValueCounts) {
  EXPECT_EQ(parse_python_json(R"({"a": 1, "b": 2, "a": {"c": 3, "c": null}})", "f").dump(),
            R"({"a":{"c":null},"b":2})");
}

TEST(ReadPythonJson, ReadsEveryEncodingThatPythonTellsApart) {
  const std::string sixteen = "{\0\"\0a\0\"\0:\0\"\0\xE9\0\"\0}\0"s;
  for (const std::string& text : {"{\"a\":\"\xC3\xA9\"}"s, "\xEF\xBB\xBF{\"a\":\"\xC3\xA9\"}"s, sixteen,
                                  "\xFF\xFE" + sixteen, "\0{\0\"\0a\0\"\0:\0\"\0\xE9\0\"\0}"s,
                                  "{\0\0\0\"\0\0\0a\0\0\0\"\0\0\0:\0\0\0\"\0\0\0\xE9\0\0\0\"\0\0\0}\0\0\0"s}) {
    EXPECT_EQ(parse_python_json(text, "f").dump(), "{\"a\":\"\xC3\xA9\"}");
  }
}

TEST(ReadPythonJson, HalvesOfSurrogatePairsAreKept) {
  EXPECT_EQ(parse_python_json(R"("\ud83d\ude00")", "f").get<std::string>(), "\xF0\x9F\x98\x80");
  EXPECT_EQ(parse_python_json(R"("\ud83dx")", "f").get<std::string>(), "\xED\xA0\xBDx");
  EXPECT_EQ(parse_python_json(R"("\ude00\ud83d")", "f").get<std::string>(), "\xED\xB8\x80\xED\xA0\xBD");
  EXPECT_EQ(parse_python_json(R"("\ud83d\ud83d\ude00")", "f").get<std::string>(), "\xED\xA0\xBD\xF0\x9F\x98\x80");
  EXPECT_EQ(parse_python_json("\"\xED\xA0\xBD\"", "f").get<std::string>(), "\xED\xA0\xBD");
}

TEST(ReadPythonJson, RefusesWhatPythonRefuses) {
  for (const std::string& text : {""s,
                                  " "s,
                                  "{"s,
                                  "[1,]"s,
                                  "{\"a\":1,}"s,
                                  "{'a':1}"s,
                                  "{a:1}"s,
                                  "01"s,
                                  "+1"s,
                                  ".5"s,
                                  "5."s,
                                  "1e"s,
                                  "-"s,
                                  "nan"s,
                                  "-NaN"s,
                                  "+Infinity"s,
                                  "Infinit"s,
                                  "\"\\x41\""s,
                                  "\"\\u12\""s,
                                  "\"\\u+123\""s,
                                  "\"a\tb\""s,
                                  "\"a"s,
                                  "1 2"s,
                                  "12\0"s,
                                  "\0"s,
                                  "\"\xFF\""s,
                                  "\"\xC0\x80\""s,
                                  "\"\xF4\x90\x80\x80\""s,
                                  "[1/**/]"s,
                                  "1\f"s,
                                  "1\xC2\xA0"s,
                                  "\xFF\xFE{\0}"s,
                                  "\xEF\xBB\xBF"s,
                                  "\xEF\xBB\xBF\xEF\xBB\xBF{}"s,
                                  std::string(4301, '1')}) {
    EXPECT_THROW(parse_python_json(text, "f"), DataError) << text;
    EXPECT_THROW(python_json_member(text, "a", "f"), DataError) << text;
  }
}

TEST(ReadPythonJson, HasItsLimits) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(parse_python_json(nested(1000), "f"));
  EXPECT_THAT(message_of<DataError>([&] { parse_python_json(nested(1001), "f"); }), HasSubstr("1000 levels"));
  EXPECT_THAT(message_of<DataError>([&] { parse_python_json(nested(200'000), "f"); }), HasSubstr("1000 levels"));
  EXPECT_THAT(message_of<DataError>([] { parse_python_json("[1,2]", "f", {.max_bytes = 4}); }), HasSubstr("4 B"));
  EXPECT_THROW(parse_python_json("[1,2]", "f", {.max_values = 2}), DataError);
  EXPECT_EQ(python_json_member("{\"b\":[1,2,3],\"a\":4}", "a", "f", {.max_values = 1})->get<int>(), 4)
      << "only what is kept counts";
}

TEST(ReadPythonJson, GivesOneMember) {
  EXPECT_EQ(python_json_member(R"({"b": {"a": 1}, "a": NaN, "a": "x"})", "a", "f")->get<std::string>(), "x");
  EXPECT_FALSE(python_json_member(R"({"b": {"a": 1}})", "a", "f").has_value());
  EXPECT_FALSE(python_json_member(R"(["a", 1])", "a", "f").has_value());
}

// The value as a column of this type holds it; "refused" where it cannot.
std::string cast(const char* text, const char* type_of) {
  const JsonType type = json_type_of(parse_python_json(type_of, "f"), "f");
  Json value = parse_python_json(text, "f");
  cast_json(value, type);
  try {
    check_json_fits(value, type, "f");
  } catch (const DataError&) {
    return "refused";
  }
  return value.dump();
}

TEST(JsonCast, FitsValuesAsPythonDoes) {
  for (const auto& [text, type, expected] : {std::tuple{"3.7", "1", "3"},
                                             {"true", "1", "1"},
                                             {"\" 7 \"", "1", "7"},
                                             {"NaN", "1", "refused"},
                                             {"Infinity", "1", "refused"},
                                             {"\"x\"", "1", "refused"},
                                             {"9223372036854775808", "1", "refused"},
                                             {"1e19", "1", "refused"},
                                             {"99999999999999999999", "1", "refused"},
                                             {"99999999999999999999", "0.5", "1e+20"},
                                             {"true", "0.5", "1.0"},
                                             {"\"2.5\"", "0.5", "2.5"},
                                             {"[1]", "0.5", "refused"},
                                             {"1", "true", "true"},
                                             {"0.0", "true", "false"},
                                             {"\"\"", "true", "false"},
                                             {"1.0", "\"x\"", "\"1.0\""},
                                             {"1e16", "\"x\"", "\"1e+16\""},
                                             {"0.00001", "\"x\"", "\"1e-05\""},
                                             {"0.0001", "\"x\"", "\"0.0001\""},
                                             {"false", "\"x\"", "\"False\""},
                                             {"12345678901234567890123", "\"x\"", "\"12345678901234567890123\""},
                                             {"[1.0, 2]", "[1]", "[1,2]"},
                                             {"[1.5]", "[1]", "refused"},
                                             {"[\"1\"]", "[1]", "refused"},
                                             {"{\"a\": 2.0}", "{\"a\": 1}", "{\"a\":2}"},
                                             {"\"\\ud800\"", "\"x\"", "refused"}}) {
    EXPECT_EQ(cast(text, type), expected) << text << " as " << type;
  }
}

TEST(JsonCast, FieldsThatNoColumnHasMayHoldAnything) {
  const JsonType type = json_type_of(Json::parse(R"({"a": 1})"), "f");
  EXPECT_NO_THROW(check_json_fits(parse_python_json(R"({"b": "\ud800", "c": 99999999999999999999})", "f"), type, "f"));
  EXPECT_THROW(json_type_of(parse_python_json(R"({"b": "\ud800"})", "f"), "f"), DataError);
  EXPECT_THROW(json_type_of(parse_python_json(R"({"\ud800": 1})", "f"), "f"), DataError);
  EXPECT_THROW(json_type_of(parse_python_json("99999999999999999999", "f"), "f"), DataError);
}

}  // namespace
}  // namespace millrace
