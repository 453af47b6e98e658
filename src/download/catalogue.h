// The named data sets and models: where they are, which of their files to fetch, and where to put them.
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

// Files of another repository of Hugging Face.
struct CataloguePart {
  std::string address;
  std::vector<PathRule> rules;
};

struct CatalogueEntry {
  enum class Where { kMlcommons, kHuggingFace };
  std::string name;
  Where where = Where::kMlcommons;
  std::string address;          // name of the .uri file, or what stands after "hf:"
  std::vector<PathRule> rules;  // fetch only files that match one of them; empty: all, under their own names
  std::string folder;           // without --output; empty: the source's name for it
  std::string size;             // as published, for display
  std::string licence;
  std::string meaning;
  std::vector<CataloguePart> more = {};  // what belongs beside those files, in the same folder
};

std::span<const CatalogueEntry> catalogue();
// nullptr when there is none of that name.
const CatalogueEntry* find_in_catalogue(const std::string& name);
std::vector<std::string> catalogue_names();

// The table of `millrace download --list`.
std::string catalogue_text();

// Renames files by the rules and drops those that match no rule or fail the filter; patterns see the new names. Throws
// DataError when no file is left.
void select_files(Listing& listing, const std::vector<PathRule>& rules, const FileFilter& filter);

}  // namespace millrace
