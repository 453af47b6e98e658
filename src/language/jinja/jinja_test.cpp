// What templates render; tests/parity compares with Jinja itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "language/jinja/render.h"
#include "language/jinja_template.h"
#include "language/template_spans.h"
#include "language/test_support.h"

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using json = nlohmann::ordered_json;

std::string rendered(const std::string& source, const json& variables = json::object()) {
  jinja::Value::Dict dict;
  for (const auto& [key, value] : variables.items()) dict.emplace_back(key, jinja::Value::of(value));
  return jinja::render(jinja::parse_template(source, "template"), dict, "row").text;
}

TEST(Jinja, TakesOffWhiteSpaceAsTransformersSetsIt) {
  EXPECT_EQ(rendered("a\n  {% if true %}\n b\n  {% endif %}\nc\n"), "a\n b\nc");
  EXPECT_EQ(rendered("a  {%- if true -%}  b  {%- endif %}\n c"), "ab c");
  EXPECT_EQ(rendered("a {# x #}\nb {{ 1 }}\nc"), "a b 1\nc");
  EXPECT_EQ(rendered("  {%+ if true %}x{% endif %}"), "  x");
}

TEST(Jinja, OperatorsBindAsInJinja) {
  EXPECT_EQ(rendered("{{ 1 + 2 * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }}"), "7 3 -4 2 3.5");
  EXPECT_EQ(rendered("{{ 'a' ~ 1 * 2 }}|{{ not 1 == 2 and 2 in [1, 2] }}"), "a2|True");
  EXPECT_EQ(rendered("{{ 'x' if false else 'y' if true else 'z' }}{{ 'w' if false }}"), "y");
  EXPECT_EQ(rendered("{{ 1 < 2 < 3 }} {{ 'a' not in 'bc' }} {{ [1, 'a', none] }}"), "True True [1, 'a', None]");
  EXPECT_EQ(rendered("{{ x is defined }} {{ x is not defined }} {{ not x is defined }}"), "False True True");
}

TEST(Jinja, LooksIntoValues) {
  const json variables = json::parse(R"({"m": {"role": "user", "n": [1, 2, 3]}, "t": "h\u00e9llo"})");
  EXPECT_EQ(rendered("{{ m.role }}{{ m['role'][0] }}{{ m.n[-1] }}{{ m.none }}{{ m.n[1:] }}{{ m.n[::-1] }}", variables),
            "useru3[2, 3][3, 2, 1]");
  EXPECT_EQ(rendered("{{ t[1] }}{{ t | length }}{{ t[-3:] }}", variables), "\u00e95llo");
}

TEST(Jinja, LoopsScopesAndNamespaces) {
  EXPECT_EQ(rendered("{% for i in [1, 2, 3] if i != 2 %}{{ loop.index }}{{ i }}{{ ',' if not loop.last }}{% endfor %}"),
            "11,23");
  EXPECT_EQ(rendered("{% for i in [1, 2, 3] %}{{ i ~ loop.cycle('a', 'b') }}{% endfor %}"), "1a2b3a");
  EXPECT_EQ(rendered("{% set a = 1 %}{% for i in [1] %}{% set a = 2 %}{{ a }}{% endfor %}{{ a }}"), "21");
  EXPECT_EQ(rendered("{% set n = namespace(a=1) %}{% for i in [5, 6] %}{% set n.a = i %}{% endfor %}{{ n.a }}"), "6");
  EXPECT_EQ(rendered("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k ~ v }}{% else %}none{% endfor %}"), "a1b2");
  EXPECT_EQ(rendered("{% for i in range(9) %}{% if i == 2 %}{% continue %}{% elif i > 3 %}{% break %}{% endif %}{{ i "
                     "}}{% endfor %}"),
            "013");
  EXPECT_EQ(rendered("{% macro f(a, b='x') %}<{{ a }}{{ b }}>{% endmacro %}{{ f(1) }}{{ f(b=2, a=3) }}"), "<1x><32>");
  EXPECT_EQ(rendered("{% set t %}a{{ 1 }}{% endset %}{{ t | upper }}"), "A1");
}

TEST(Jinja, FiltersAndMethods) {
  EXPECT_EQ(rendered("{{ ' a ' | trim }}|{{ [1, 2] | join(', ') }}|{{ x | default('d') }}"), "a|1, 2|d");
  EXPECT_EQ(rendered("{{ {'a': {'b': 1}} }}"), "{'a': {'b': 1}}");
  EXPECT_EQ(rendered("{{ {'a': [1, 'é', none, true]} | tojson }}"), "{\"a\": [1, \"é\", null, true]}");
  EXPECT_EQ(rendered("{{ {'a': {'b': 1}, 'c': []} | tojson(indent=2) }}"),
            "{\n  \"a\": {\n    \"b\": 1\n  },\n  \"c\": []\n}");
  EXPECT_EQ(rendered("{{ [{'r': 'a'}, {'r': 'b'}] | selectattr('r', 'equalto', 'b') | map(attribute='r') | list }}"),
            "['b']");
  EXPECT_EQ(rendered("{{ 'a</t>b'.split('</t>')[-1].rstrip('b') }}{{ 'xyx'.strip('x') }}{{ 'ab'.startswith('a') }}"),
            "yTrue");
}

std::string fault_of_template(const std::string& source) {
  return message_of<ModelError>([&] { jinja::parse_template(source, "t.json"); });
}

TEST(Jinja, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(fault_of_template("a\n{% include 'x' %}"),
            "[t.json:2] expected if, for, set, macro, generation, break or continue, got \"include\"");
  EXPECT_THAT(fault_of_template("{{ x | attr('y') }}"),
              HasSubstr("[t.json:1] expected a filter that is known, not attr"));
  EXPECT_THAT(fault_of_template("{{ x.__class__() }}"), HasSubstr("a method that is known"));
  EXPECT_THAT(fault_of_template("{% for a in b %}"), HasSubstr("expected {% endfor %}, got the end of the template"));
  EXPECT_THAT(fault_of_template("{{ 1 +"), HasSubstr("the end }}"));
  EXPECT_THAT(fault_of_template(std::string(500, '\n') + "{{ " + std::string(500, '(') + " }}"),
              HasSubstr(":501] expected"));
}

// Llama's templates ask whether there is a clock, Mistral's do not.
TEST(Jinja, TheDayIsAlwaysTheSame) {
  EXPECT_EQ(rendered("{% if strftime_now is defined %}today{% else %}26 Jul 2024{% endif %}"), "26 Jul 2024");
  EXPECT_EQ(rendered("{{ strftime_now('%d %b %Y') }}, {{ strftime_now('%Y-%m-%d') }}, {{ strftime_now('%A %H:%M') }}"),
            "26 Jul 2024, 2024-07-26, Friday 00:00");
  EXPECT_THAT(message_of<DataError>([] { rendered("{{ strftime_now() }}"); }),
              HasSubstr("a format for strftime_now()"));
  EXPECT_THAT(message_of<DataError>([] { rendered("{{ strftime_now('') }}"); }), HasSubstr("1 to 255 bytes"));
}

TEST(Jinja, FaultsOfARowNameRowAndLine) {
  const auto fault = [](const std::string& source) { return message_of<DataError>([&] { rendered(source); }); };
  EXPECT_EQ(fault("{{ raise_exception('Roles must alternate') }}"),
            "[row] expected messages that the chat template takes, got: Roles must alternate");
  EXPECT_EQ(fault("\n{{ 1 + 'a' }}"),
            "[row] expected numbers, or two texts or lists to add, around +, got a number and text (line 2 of the chat "
            "template)");
  EXPECT_THAT(fault("{{ x.y.z }}"), HasSubstr("an undefined one"));
  EXPECT_THAT(fault("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), HasSubstr("48 deep"));
  EXPECT_THAT(fault("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"),
              HasSubstr("steps"));
  EXPECT_THAT(fault("{{ 'a'.split(1) }}"), HasSubstr("text as an argument"));
}

constexpr const char* kChatMl =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

TEST(Jinja, FindsTheAssistantsTurns) {
  const json chat =
      json::parse(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                                                 {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})");
  const JinjaTemplate chat_template(kChatMl, {}, "template");
  const RenderedChat rendered_chat = render_with_spans(chat_template, small_tokenizer(), chat, "row");
  std::vector<std::string> turns;
  for (const auto& [begin, end] : rendered_chat.assistant)
    turns.push_back(rendered_chat.text.substr(begin, end - begin));
  EXPECT_THAT(turns, ElementsAre("b<|im_end|>", "d<|im_end|>"));
  EXPECT_EQ(rendered_chat.text, chatml_template()->render(chat, false, "row"));
}

// After the habits of Qwen3's: thoughts are opened by the header and left out of all answers but the last.
constexpr const char* kThinking =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n' + (m.reasoning_content or '') + '</think>\n' }}{% "
    "endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' + opening }}{% endif %}";

TEST(Jinja, FindsTurnsWhoseThoughtsAreLeftOut) {
  json chat = json::parse(R"({"messages": [{"role": "user", "content": "a"},
      {"role": "assistant", "content": "<b>\n", "thinking": "hm\n", "name": null}, {"role": "user", "content": "c"},
      {"role": "assistant", "content": "", "reasoning": "so\n"}, {"role": "user", "content": "e"},
      {"role": "assistant", "content": "d", "reasoning_content": "yes\n"}]})");
  const JinjaTemplate chat_template(kThinking, {}, "template");
  for (const auto& [opening, last] :
       {std::pair{"", "<think>\nyes\n</think>\nd<|im_end|>"}, {"<think>\n", "yes\n</think>\nd<|im_end|>"}}) {
    chat["opening"] = opening;
    const RenderedChat rendered_chat = render_with_spans(chat_template, small_tokenizer(), chat, "row");
    std::vector<std::string> turns;
    for (const auto& [begin, end] : rendered_chat.assistant)
      turns.push_back(rendered_chat.text.substr(begin, end - begin));
    EXPECT_THAT(turns, ElementsAre("<b>\n<|im_end|>", "<|im_end|>", last));
  }
}

std::vector<std::string> turns_of(const std::string& source, const json& chat) {
  const RenderedChat found = render_with_spans(JinjaTemplate(source, {}, "template"), small_tokenizer(), chat, "row");
  std::vector<std::string> turns;
  for (const auto& [begin, end] : found.assistant) turns.push_back(found.text.substr(begin, end - begin));
  return turns;
}

const json& two_answers() {
  static const json chat = json::parse(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " b\n"},
                       {"role": "user", "content": "c"}, {"role": "assistant", "content": "<d>"}]})");
  return chat;
}

// tests/parity has the habits of more models.
TEST(Jinja, MarksFindTurnsAmongMessagesThatChange) {
  const std::string source =
      "{{ messages | length }}\n{% for m in messages %}<|start_header_id|>{{ m.role + '\n' + m.content }}<|eot_id|>"
      "{% if loop.last and not add_generation_prompt %}<|end_of_text|>{% endif %}{{ '\n' }}{% endfor %}"
      "{% if add_generation_prompt %}<|start_header_id|>{{ 'assistant\n' }}{% endif %}";
  EXPECT_THAT(turns_of(source, two_answers()), ElementsAre(" b\n<|eot_id|>", "<d><|eot_id|><|end_of_text|>"));
}

TEST(Jinja, TurnsThatCannotBeToldApartAreRefused) {
  const auto fault = [](const std::string& written) {
    return message_of<DataError>(
        [&] { turns_of("{% for m in messages %}" + written + "{% endfor %}", two_answers()); });
  };
  EXPECT_EQ(
      fault("{{ m.content + (messages | length | string) }}"),
      "[row] expected a chat template that shows where message 2 of 4 begins and ends, got another header in front "
      "of it than an answer is asked for with (try conversations of one answer)");
  EXPECT_THAT(fault("{{ messages | length }}\n"), HasSubstr("got none of its text"));
  EXPECT_THAT(fault("{{ m.content }}{% if loop.last and not add_generation_prompt %}<|eot_id|>{% endif %}"),
              HasSubstr("got no end of the turn"));
  EXPECT_THAT(
      fault("{{ messages | length }}\n{{ m.content }}{% if loop.last %}{{ messages[1:2] | map(attribute='content') "
            "| join('') }}{% endif %}"),
      HasSubstr("got its text around another message"));
  EXPECT_THAT(fault("{{ messages | length }}\n{{ m.content[:2] }}"), HasSubstr("once the messages are marked"));
}

TEST(Jinja, MessagesHaveNoNulls) {
  const JinjaTemplate chat_template("{% for m in messages %}{{ m.content | trim }}{{ m.name is defined }}{% endfor %}",
                                    {}, "template");
  const json chat = json::parse(R"({"messages": [{"content": null, "name": null}, {"content": " x ", "name": "n"}]})");
  EXPECT_EQ(chat_template.render(chat, false, "row"), "FalsexTrue");
}

TEST(Jinja, TakesTheMarksOfTheTemplate) {
  const JinjaTemplate chat_template(
      "{% for m in messages %}[{% generation %}{{ m.content }}{% endgeneration %}]{% endfor %}", {}, "template");
  const json chat = json::parse(R"({"messages": [{"content": "ab"}, {"content": "c"}]})");
  EXPECT_THAT(render_with_spans(chat_template, small_tokenizer(), chat, "row").assistant,
              ElementsAre(Pair(1, 3), Pair(5, 6)));
}

}  // namespace
}  // namespace millrace
