// The part of report.html that shows a run's sample pictures: grids through time, each prompt through time, and the
// last grid with adapters of several strengths.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace millrace {

// The section about the grids in the folder: step-%08d.png, step-%08d-strength-%g.png and what sample_grid.h writes
// beside them; "" if there are none. At most 24 MiB of pictures are included; some between the first and the last step
// are left out if necessary. prompts: for grids that have none beside them.
std::string samples_html(const std::filesystem::path& folder, const std::vector<std::string>& prompts);

}  // namespace millrace
