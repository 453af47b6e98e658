// The data sets and models that have a name: where they are, which files of them are taken, and where these go.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "download/glob.h"
#include "download/remote_file.h"

namespace millrace {

// Files whose path begins with `from` are put below `to` instead: {"text_encoder_2/", "t5/"}.
struct PathRule {
  std::string from;
  std::string to;
};

struct CatalogueEntry {
  enum class Where { kMlcommons, kHuggingFace };
  std::string name;
  Where where = Where::kMlcommons;
  std::string address;          // name of the .uri file, or what stands after "hf:"
  std::vector<PathRule> rules;  // only files that fit one of them are taken; empty: all, as they are called
  std::string folder;           // without --output; empty: as the source calls it
  std::string size;             // as published, for people
  std::string licence;
  std::string meaning;
};

std::span<const CatalogueEntry> catalogue();
// nullptr when there is none of that name.
const CatalogueEntry* find_in_catalogue(const std::string& name);
std::vector<std::string> catalogue_names();

// The table of `millrace download --list`.
std::string catalogue_text();

// Renames by the rules and drops what fits none or what the filter does not want; patterns see the new names. Throws
// DataError when nothing is left.
void select_files(Listing& listing, const std::vector<PathRule>& rules, const FileFilter& filter);

}  // namespace millrace
