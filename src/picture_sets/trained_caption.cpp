#include "picture_sets/trained_caption.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "base/python_text.h"
#include "base/text.h"

namespace millrace {
namespace {

// "{red|green} car" -> "green car". "{{" and "}}" stand for braces.
std::string choose_wildcards(const std::string& text, RandomSource& random) {
  // Marks that the text does not hold stand in for the escaped braces.
  std::string open = "\x01", close = "\x02";
  while (text.find(open) != std::string::npos || text.find(close) != std::string::npos) {
    open += '\x01';
    close += '\x02';
  }
  const std::string marked = replace_all(replace_all(text, "{{", open), "}}", close);
  std::string chosen;
  for (size_t at = 0; at < marked.size();) {
    const size_t end = marked[at] == '{' ? marked.find('}', at) : std::string::npos;
    if (end == std::string::npos || end == at + 1) {  // "{}" is no choice
      chosen += marked[at++];
      continue;
    }
    const std::vector<std::string> choices = split(std::string_view(marked).substr(at + 1, end - at - 1), '|');
    chosen += choices[random.below(choices.size())];
    at = end + 1;
  }
  return replace_all(replace_all(chosen, open, "{"), close, "}");
}

using Tags = std::vector<std::string>;

Tags tags_of(std::string_view text, const std::string& separator, bool keeps_empty) {
  Tags tags;
  for (const std::string_view part : python_split(text, separator)) {
    const std::string_view tag = python_strip(part);
    if (keeps_empty || !tag.empty()) tags.emplace_back(tag);
  }
  return tags;
}

struct SplitCaption {
  Tags fixed, flexible, suffix;
};

// The first tags, or those before the separator, stay in front; those after a second separator stay at the end.
SplitCaption split_caption(const std::string& caption, const SubsetOptions& subset) {
  SplitCaption parts;
  const std::string& mark = subset.keep_tokens_separator;
  const size_t first = mark.empty() ? std::string::npos : caption.find(mark);
  if (first != std::string::npos) {
    std::string_view rest = std::string_view(caption).substr(first + mark.size());
    const size_t second = rest.find(mark);
    if (second != std::string_view::npos) {
      parts.suffix = tags_of(rest.substr(second + mark.size()), subset.caption_separator, false);
      rest = rest.substr(0, second);
    }
    parts.fixed = tags_of(std::string_view(caption).substr(0, first), subset.caption_separator, false);
    parts.flexible = tags_of(rest, subset.caption_separator, false);
    return parts;
  }
  parts.flexible = tags_of(python_strip(caption), subset.caption_separator, true);
  const auto kept = std::clamp<int64_t>(subset.keep_tokens, 0, static_cast<int64_t>(parts.flexible.size()));
  parts.fixed.assign(parts.flexible.begin(), parts.flexible.begin() + kept);
  parts.flexible.erase(parts.flexible.begin(), parts.flexible.begin() + kept);
  return parts;
}

// The number of flexible tags grows from token_warmup_min to all of them over the warm-up.
void keep_warm_tags(Tags& tags, const SubsetOptions& subset, const CaptionMoment& moment) {
  const double warmup = subset.token_warmup_step < 1
                            ? std::floor(subset.token_warmup_step * static_cast<double>(moment.max_train_steps))
                            : subset.token_warmup_step;
  const auto step = static_cast<double>(moment.step);
  if (warmup == 0 || step >= warmup) return;
  const auto count = static_cast<int64_t>(tags.size());
  const double slope = static_cast<double>(count - subset.token_warmup_min) / warmup;
  int64_t kept = static_cast<int64_t>(std::floor(step * slope)) + subset.token_warmup_min;
  if (kept < 0) kept += count;  // as a slice of Python's counts from the end
  tags.resize(static_cast<size_t>(std::clamp<int64_t>(kept, 0, count)));
}

std::string arrange_tags(const std::string& caption, const SubsetOptions& subset, const CaptionMoment& moment,
                         RandomSource& random) {
  SplitCaption parts = split_caption(caption, subset);
  keep_warm_tags(parts.flexible, subset, moment);
  if (subset.shuffle_caption) random.shuffle(parts.flexible);
  Tags tags = std::move(parts.fixed);
  for (std::string& tag : parts.flexible) {
    const bool is_dropped = subset.caption_tag_dropout_rate > 0 && random.uniform() < subset.caption_tag_dropout_rate;
    if (!is_dropped) tags.push_back(std::move(tag));
  }
  tags.insert(tags.end(), parts.suffix.begin(), parts.suffix.end());
  return join(tags, ", ");  // whatever the separator is
}

}  // namespace

std::string trained_caption(const std::string& caption, const SubsetOptions& subset, const CaptionMoment& moment,
                            RandomSource& random) {
  std::string text = caption;
  if (subset.caption_prefix && !subset.caption_prefix->empty()) text = *subset.caption_prefix + " " + text;
  if (subset.caption_suffix && !subset.caption_suffix->empty()) text += " " + *subset.caption_suffix;

  // The numbers are drawn in sd-scripts' order: dropout of the whole, line, wildcards, shuffle, dropout of tags.
  const bool is_dropped =
      (subset.caption_dropout_rate > 0 && random.uniform() < subset.caption_dropout_rate) ||
      (subset.caption_dropout_every_n_epochs > 0 && moment.epoch % subset.caption_dropout_every_n_epochs == 0);
  if (is_dropped) return "";
  if (subset.enable_wildcard) {
    const std::vector<std::string> lines = split(text, '\n');
    if (lines.size() > 1) text = lines[random.below(lines.size())];
    text = choose_wildcards(text, random);
  } else {
    text = text.substr(0, text.find('\n'));
  }
  if (subset.shuffle_caption || subset.token_warmup_step > 0 || subset.caption_tag_dropout_rate > 0) {
    text = arrange_tags(text, subset, moment, random);
  }
  if (subset.secondary_separator && !subset.secondary_separator->empty()) {
    text = replace_all(text, *subset.secondary_separator, subset.caption_separator);
  }
  return text;
}

std::string fixed_caption(const std::string& caption, const SubsetOptions& subset) {
  SubsetOptions fixed;
  fixed.caption_prefix = subset.caption_prefix;
  fixed.caption_suffix = subset.caption_suffix;
  fixed.caption_separator = subset.caption_separator;
  fixed.secondary_separator = subset.secondary_separator;
  PhiloxSource unused(caption_stream(0, 0, 0));
  return trained_caption(caption, fixed, CaptionMoment{}, unused);
}

RandomStream caption_stream(uint64_t seed, uint32_t epoch, uint64_t sample_id) {
  return random_stream(seed, RandomPurpose::kPromptDropout, epoch, sample_id);
}

bool has_changing_captions(const SubsetOptions& subset) {
  return subset.shuffle_caption || subset.enable_wildcard || subset.token_warmup_step > 0 ||
         subset.caption_dropout_rate > 0 || subset.caption_dropout_every_n_epochs > 0 ||
         subset.caption_tag_dropout_rate > 0;
}

bool has_many_captions(const SubsetOptions& subset) {
  return subset.shuffle_caption || subset.token_warmup_step > 0 || subset.caption_tag_dropout_rate > 0;
}

}  // namespace millrace
