// The options of sd-scripts' flux_train_network.py (commit 48d368f): name, type, default, and what becomes of each
// here.
#pragma once

#include <span>
#include <string_view>

namespace millrace {

enum class KohyaType {
  kFlag,
  kInteger,
  kNumber,
  kText,
  kTexts,  // as many words as follow
};

enum class KohyaUse {
  kTaken,        // translated: note is the option of ours, or says what it decides
  kDataset,      // of data sets: picture_sets/dataset_arguments.h takes it
  kNoEffect,     // sd-scripts reads it, and it changes nothing in FLUX training: a warning
  kNoMatter,     // how the reference runs, not what it computes: no word is lost about it
  kUnsupported,  // would change the result and cannot be had here: refused unless it is the default
};

struct KohyaOption {
  const char* name;
  KohyaType type;
  const char* fallback;  // as text; "" for none
  KohyaUse use;
  const char* note;
};

// Sorted as in sd-scripts' own help.
std::span<const KohyaOption> kohya_options();
// nullptr: there is none of this name.
const KohyaOption* find_kohya_option(std::string_view name);

}  // namespace millrace
