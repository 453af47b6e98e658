#include "formats/json_type.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

// The types of all of these together, as `datasets` writes them.
std::string common(const std::vector<const char*>& texts) {
  JsonType type;
  for (const char* text : texts) type = common_json_type(type, json_type_of(Json::parse(text), "f"), "f");
  return hf_feature(type).dump();
}

TEST(JsonType, NullGivesWayAndStructsGrow) {
  EXPECT_EQ(common({"{\"a\":1,\"b\":null}", "{\"b\":\"x\",\"c\":[1,null]}"}),
            R"({"a":{"dtype":"int64","_type":"Value"},"b":{"dtype":"string","_type":"Value"},)"
            R"("c":{"feature":{"dtype":"int64","_type":"Value"},"_type":"List"}})");
  EXPECT_EQ(common({"null"}), R"({"dtype":"null","_type":"Value"})");
  EXPECT_EQ(common({"[1,2.5]"}), R"({"feature":{"dtype":"float64","_type":"Value"},"_type":"List"})");
}

TEST(JsonType, RefusesWhatHasNoCommonType) {
  EXPECT_THAT(message_of<DataError>([] { common({"{\"a\":1}", "{\"a\":1.5}"}); }), HasSubstr("f.\"a\""));
  EXPECT_THROW(common({"[1,\"x\"]"}), DataError);
  EXPECT_THROW(common({"18446744073709551615"}), DataError);
}

TEST(JsonType, ChecksValues) {
  const JsonType type = json_type_of(Json::parse(R"({"a":1,"b":[0.5],"c":true,"d":"x","e":null})"), "f");
  for (const char* good : {"{}", "null", R"({"a":null,"surplus":{"x":1}})", R"({"b":[1,null],"c":false})"}) {
    EXPECT_NO_THROW(check_json_fits(Json::parse(good), type, "f")) << good;
  }
  for (const char* bad :
       {"3", R"({"a":1.5})", R"({"a":"1"})", R"({"b":2})", R"({"b":["x"]})", R"({"c":1})", R"({"e":1})"}) {
    EXPECT_THROW(check_json_fits(Json::parse(bad), type, "f"), DataError) << bad;
  }
}

}  // namespace
}  // namespace millrace
