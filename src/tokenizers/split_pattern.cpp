#include "tokenizers/split_pattern.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

using unicode::Category;
using Item = SplitPattern::Item;
using Sequence = SplitPattern::Sequence;

constexpr uint32_t kNoEnd = UINT32_MAX;
constexpr size_t kMaxAlternatives = 64;  // bits of may_start_
constexpr uint16_t kAllCategories = 0x1FF;

constexpr uint16_t bit(Category category) {
  return static_cast<uint16_t>(1u << static_cast<unsigned>(category));
}

struct NamedClass {
  const char *name, *opposite;
  uint16_t categories;
};
constexpr NamedClass kNamedClasses[] = {
    {"\\s", "\\S", bit(Category::kSpace)},
    {"\\p{N}", "\\P{N}", bit(Category::kNumber)},
    {"\\p{M}", "\\P{M}", bit(Category::kMark)},
    {"\\p{L}", "\\P{L}",
     bit(Category::kUppercase) | bit(Category::kLowercase) | bit(Category::kTitlecase) |
         bit(Category::kModifierLetter) | bit(Category::kOtherLetter)},
    {"\\p{Lu}", "\\P{Lu}", bit(Category::kUppercase)},
    {"\\p{Ll}", "\\P{Ll}", bit(Category::kLowercase)},
    {"\\p{Lt}", "\\P{Lt}", bit(Category::kTitlecase)},
    {"\\p{Lm}", "\\P{Lm}", bit(Category::kModifierLetter)},
    {"\\p{Lo}", "\\P{Lo}", bit(Category::kOtherLetter)},
};

CodePointSet category_set(uint16_t categories) {
  CodePointSet set;
  set.categories = categories;
  for (uint32_t c = 0; c < 128; ++c) set.ascii[c] = (categories & bit(unicode::category(c))) != 0;
  return set;
}

void add_code_point(CodePointSet& set, uint32_t code_point) {
  if (code_point < 128) {
    set.ascii[code_point] = true;
  } else {
    set.others.push_back(code_point);
  }
}

void unite(CodePointSet& set, const CodePointSet& other) {
  for (size_t c = 0; c < 128; ++c) set.ascii[c] = set.ascii[c] || other.ascii[c];
  set.categories |= other.categories;
  set.others.insert(set.others.end(), other.others.begin(), other.others.end());
}

CodePointSet complement(CodePointSet set) {
  for (size_t c = 0; c < 128; ++c) set.ascii[c] = !set.ascii[c];
  set.categories = static_cast<uint16_t>(~set.categories & kAllCategories);
  set.negated_beyond = true;
  return set;
}

// A letter as (?i:..) takes it: both cases, and the two letters of other blocks that fold to ASCII.
CodePointSet either_case(uint32_t c) {
  CodePointSet set;
  add_code_point(set, c);
  const bool upper = c >= 'A' && c <= 'Z', lower = c >= 'a' && c <= 'z';
  if (upper || lower) add_code_point(set, c ^ 0x20);
  if (c == 's' || c == 'S') add_code_point(set, 0x17F);   // long s
  if (c == 'k' || c == 'K') add_code_point(set, 0x212A);  // Kelvin
  return set;
}

// Recursive descent: alternatives := sequence ('|' sequence)*; sequence := (piece quantifier?)*.
class Parser {
 public:
  Parser(std::string_view text, const std::string& place) : text_(text), place_(place) {}

  std::vector<Sequence> parse() {
    std::vector<Sequence> all = alternatives(false);
    if (at_ < text_.size()) fail("the end");
    return all;
  }

 private:
  static constexpr int kMaxDepth = 8;

  [[noreturn]] void fail(const std::string& expected) const {
    const std::string got = at_ < text_.size() ? str("\"", text_.substr(at_, 12), "\"") : "its end";
    throw ModelError(str("[", place_,
                         "] expected a splitting expression made as those of GPT-2, Llama 3, Qwen2 or Tekken, got \"",
                         text_, "\", whose byte ", at_, " should be ", expected, ", not ", got));
  }
  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  bool next_is(char c) const { return at_ < text_.size() && text_[at_] == c; }

  std::vector<Sequence> alternatives(bool any_case) {
    if (++depth_ > kMaxDepth) fail("nested less deeply");
    std::vector<Sequence> all;
    do {
      for (Sequence& one : sequence(any_case)) all.push_back(std::move(one));
      if (all.size() > kMaxAlternatives) fail("fewer alternatives");
    } while (take("|"));
    --depth_;
    return all;
  }

  // Groups are multiplied out: a(?:b|c) is ab|ac. That keeps the order in which a matcher tries things only as long as
  // what stands before the group has one length.
  std::vector<Sequence> sequence(bool any_case) {
    std::vector<Sequence> all(1);
    while (at_ < text_.size() && text_[at_] != '|' && text_[at_] != ')') {
      if (take("(?!")) {
        Item item;
        item.set = set_of_one(any_case);
        item.look_ahead = true;
        if (!take(")")) fail("the end of a look-ahead at one character");
        for (Sequence& one : all) one.push_back(item);
      } else if (take("(?:")) {
        multiply(all, group(any_case));
      } else if (take("(?i:")) {
        multiply(all, group(true));
      } else {
        Item item;
        item.set = set_of_one(any_case);
        quantify(item);
        for (Sequence& one : all) one.push_back(item);
      }
    }
    return all;
  }

  std::vector<Sequence> group(bool any_case) {
    std::vector<Sequence> inner = alternatives(any_case);
    if (!take(")")) fail("the end of a group");
    if (take("?")) inner.emplace_back();
    if (next_is('*') || next_is('+') || next_is('?') || next_is('{')) fail("a group without repetition");
    return inner;
  }

  void multiply(std::vector<Sequence>& all, const std::vector<Sequence>& inner) const {
    std::vector<Sequence> product;
    for (const Sequence& one : all) {
      for (const Item& item : one) {
        if (item.min != item.max) fail("a group behind parts of fixed length alone");
      }
      for (const Sequence& tail : inner) {
        product.push_back(one);
        product.back().insert(product.back().end(), tail.begin(), tail.end());
      }
    }
    if (product.size() > kMaxAlternatives) fail("fewer alternatives");
    all = std::move(product);
  }

  void quantify(Item& item) {
    if (take("?")) {
      item.min = 0;
    } else if (take("*")) {
      item.min = 0, item.max = kNoEnd;
    } else if (take("+")) {
      item.max = kNoEnd;
    } else if (take("{")) {
      item.min = number();
      item.max = item.min;
      if (take(",")) item.max = next_is('}') ? kNoEnd : number();
      if (!take("}") || item.max < item.min || item.max == 0) fail("a repetition such as {1,3}");
    }
    if (next_is('?') || next_is('+')) fail("a greedy repetition, without ? or + behind it");
  }

  uint32_t number() {
    uint32_t value = 0;
    size_t digits = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_, ++digits) {
      value = value * 10 + static_cast<uint32_t>(text_[at_] - '0');
      if (digits > 4) fail("a small number");
    }
    if (digits == 0) fail("a number");
    return value;
  }

  CodePointSet set_of_one(bool any_case) {
    if (at_ == text_.size()) fail("a character");
    if (take("[")) return bracket(any_case);
    if (next_is('\\')) return escape();
    if (std::string_view("().*+?{}^$|]").find(text_[at_]) != std::string_view::npos) fail("a character or a class");
    return literal(any_case);
  }

  CodePointSet literal(bool any_case) {
    const unicode::CodePoint c = unicode::decode(text_, at_);
    if (any_case && c.value >= 128) fail("ASCII inside (?i:..)");
    at_ += c.length;
    if (any_case) return either_case(c.value);
    CodePointSet set;
    add_code_point(set, c.value);
    return set;
  }

  CodePointSet escape() {
    for (const NamedClass& known : kNamedClasses) {
      if (take(known.name)) return category_set(known.categories);
      if (take(known.opposite)) return complement(category_set(known.categories));
    }
    CodePointSet set;
    for (const auto& [name, c] : {std::pair{"\\r", '\r'}, std::pair{"\\n", '\n'}, std::pair{"\\t", '\t'}}) {
      if (take(name)) {
        add_code_point(set, static_cast<uint32_t>(c));
        return set;
      }
    }
    const char c = at_ + 1 < text_.size() ? text_[at_ + 1] : 'a';
    if (static_cast<unsigned char>(c) >= 128 || unicode::category(static_cast<uint32_t>(c)) != Category::kOther) {
      fail("\\s, \\S, \\p{L}, \\p{Lu}, \\p{M}, \\p{N} or a character that stands for itself");
    }
    at_ += 2;
    add_code_point(set, static_cast<uint32_t>(c));
    return set;
  }

  CodePointSet bracket(bool any_case) {
    const bool negated = take("^");
    CodePointSet set;
    bool first = true;
    for (; first || !next_is(']'); first = false) {
      if (at_ == text_.size() || next_is('[')) fail("the end of a class");
      if (first && next_is(']')) fail("a class that holds something");
      const size_t before = at_;
      const CodePointSet one = next_is('\\') ? escape() : literal(any_case);
      if (one.negated_beyond) {
        at_ = before;
        fail("a class of \\s, \\p{..} and characters");
      }
      if (next_is('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        add_range(set, before);
      } else {
        unite(set, one);
      }
    }
    ++at_;
    return negated ? complement(set) : set;
  }

  // [a-z] within ASCII.
  void add_range(CodePointSet& set, size_t before) {
    const auto low = static_cast<unsigned char>(text_[before]);
    const bool single = at_ == before + 1 && low < 128;
    ++at_;
    const auto high = static_cast<unsigned char>(text_[at_]);
    if (!single || high >= 128 || high < low || high == '\\') fail("the end of a range of ASCII characters");
    ++at_;
    for (uint32_t c = low; c <= high; ++c) add_code_point(set, c);
  }

  std::string_view text_;
  const std::string& place_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

bool CodePointSet::contains(uint32_t code_point) const {
  if (code_point < 128) return ascii[code_point];
  const bool of_category = (categories & bit(unicode::category(code_point))) != 0;
  if (others.empty()) return of_category;
  const bool listed = std::find(others.begin(), others.end(), code_point) != others.end();
  return negated_beyond ? of_category && !listed : of_category || listed;
}

SplitPattern::SplitPattern(std::string_view expression, const std::string& place)
    : alternatives_(Parser(expression, place).parse()) {
  index_first_bytes();
}

void SplitPattern::index_first_bytes() {
  for (size_t k = 0; k < alternatives_.size(); ++k) {
    const uint64_t mask = uint64_t{1} << k;
    for (size_t byte = 128; byte < 256; ++byte) may_start_[byte] |= mask;
    bool open = true;  // nothing so far has to consume a character
    for (const Item& item : alternatives_[k]) {
      if (item.look_ahead) break;
      for (size_t byte = 0; byte < 128; ++byte) {
        if (item.set.ascii[byte]) may_start_[byte] |= mask;
      }
      open = item.min == 0;
      if (!open) break;
    }
    if (!open) continue;
    for (size_t byte = 0; byte < 128; ++byte) may_start_[byte] |= mask;
  }
}

size_t SplitPattern::match(std::string_view text, size_t at) const {
  for (uint64_t left = may_start_[static_cast<unsigned char>(text[at])]; left != 0; left &= left - 1) {
    size_t end = at;
    if (match_from(alternatives_[static_cast<size_t>(__builtin_ctzll(left))], 0, text, at, end) && end > at) {
      return end - at;
    }
  }
  return 0;
}

bool SplitPattern::match_from(const Sequence& items, size_t i, std::string_view text, size_t at, size_t& end) const {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  for (; i < items.size(); ++i) {
    const Item& item = items[i];
    if (item.look_ahead) {
      if (at < text.size() && item.set.contains(unicode::decode(text, at).value)) return false;
      continue;
    }
    const size_t begin = at;
    uint32_t count = 0;
    while (count < item.max && at < text.size()) {
      const size_t most = std::min<size_t>(text.size() - at, item.max - count), first = at;
      while (at < first + most && item.set.ascii[bytes[at]]) ++at;
      count += static_cast<uint32_t>(at - first);
      if (count == item.max || at == text.size() || bytes[at] < 128) break;
      const unicode::CodePoint c = unicode::decode(text, at);
      if (!item.set.contains(c.value)) break;
      at += c.length;
      ++count;
    }
    if (count < item.min) return false;
    if (count == item.min || i + 1 == items.size()) continue;
    // Greedy first, then one character less at a time.
    while (true) {
      if (match_from(items, i + 1, text, at, end)) return true;
      if (count == item.min || at == begin) return false;
      do --at;
      while ((bytes[at] & 0xC0) == 0x80);
      --count;
    }
  }
  end = at;
  return true;
}

}  // namespace millrace
