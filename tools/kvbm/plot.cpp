// `--plot`: hit rate over capacity, or blocks by state over steps, drawn by gnuplot.
module;

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

module kvbm.tool;

import kvbm.core;

namespace kvbm::tool {
namespace {

using File = std::unique_ptr<std::FILE, decltype([](std::FILE* file) { std::fclose(file); })>;

/// Text as gnuplot reads it between single quotes.
std::string quoted(std::string_view text) {
    std::string result = "'";
    for (const char c : text) {
        result += c == '\'' ? "''" : std::string(1, c);
    }
    return result + "'";
}

/// An SVG of this many pixels in height.
std::string canvas(std::size_t height) {
    return fmt::format(
        "set terminal svg noenhanced size 900,{} font 'sans,14' background rgb 'white'\n", height);
}

/// The policies of the runs, each once, in order.
std::vector<ReplayPolicy> policies_of(std::span<const ReplayRun> runs) {
    std::vector<ReplayPolicy> policies;
    for (const ReplayRun& run : runs) {
        if (std::ranges::find(policies, run.policy) == policies.end()) {
            policies.push_back(run.policy);
        }
    }
    return policies;
}

/// The points of one line from left to right: blocks, and the hit rate with so many.
std::vector<std::pair<std::uint64_t, double>> points_of(std::span<const ReplayRun> runs,
                                                        ReplayPolicy policy) {
    std::vector<std::pair<std::uint64_t, double>> points;
    for (const ReplayRun& run : runs) {
        if (run.policy == policy) {
            // Without a limit the cache is as large as what it holds in the end.
            points.emplace_back(run.capacity.value_or(run.resident), run.block_hit_rate());
        }
    }
    std::ranges::sort(points);
    return points;
}

std::string script(std::span<const ReplayRun> runs, std::string_view title) {
    std::string text = fmt::format(
        "{}"
        "set title {}\n"
        "set xlabel 'capacity (blocks)'\n"
        "set ylabel 'block hit rate'\n"
        "set logscale x\n"
        "set format x '%.0f'\n"
        "set yrange [0:*]\n"
        "set format y '%.2f'\n"
        "set key left top\n"
        "set grid\n",
        canvas(560), quoted(title));
    std::string plots;
    const auto policies = policies_of(runs);
    for (std::size_t i = 0; i < policies.size(); ++i) {
        text += fmt::format("$line{} << END\n", i);
        for (const auto& [capacity, rate] : points_of(runs, policies[i])) {
            text += fmt::format("{} {}\n", capacity, rate);
        }
        text += "END\n";
        plots +=
            fmt::format("{}$line{} using 1:2 with linespoints linewidth 2 pointtype 7 title {}",
                        i == 0 ? "plot " : ", ", i, quoted(to_string(policies[i])));
    }
    return text + plots + '\n';
}

/// Areas upon each other: held and registered, held and being written, cached; up to the capacity.
std::string script(std::span<const RequestReplayRun> runs, std::string_view title) {
    std::string text = fmt::format(
        "{}"
        "set multiplot layout {},1 title {}\n"
        "set xlabel 'step'\n"
        "set ylabel 'blocks'\n"
        "set format x '%.0f'\n"
        "set format y '%.0f'\n"
        "set key outside right top\n"
        "set grid front\n"
        "set style fill solid 0.8 noborder\n",
        canvas(60 + 340 * runs.size()), runs.size(), quoted(title));
    for (std::size_t i = 0; i < runs.size(); ++i) {
        text += fmt::format("$run{} << END\n", i);
        for (const BlockSample& at : runs[i].samples) {
            const std::size_t held = at.registered + at.queued;
            text += fmt::format("{} {} {} {} {}\n", at.step, at.registered, held,
                                held + at.inactive, held + at.inactive + at.free);
        }
        const std::string capacity =
            runs[i].capacity ? fmt::format("{} blocks", *runs[i].capacity) : "unlimited";
        text += fmt::format(
            "END\n"
            "set title {0}\n"
            "plot $run{1} using 1:5 with filledcurves x1 linecolor rgb '#d9d9d9' title 'free', "
            "$run{1} using 1:4 with filledcurves x1 linecolor rgb '#9ecae1' title 'inactive', "
            "$run{1} using 1:3 with filledcurves x1 linecolor rgb '#fdae6b' title 'being written', "
            "$run{1} using 1:2 with filledcurves x1 linecolor rgb '#3182bd' title 'registered, "
            "held'\n",
            quoted(fmt::format("{}, {}", runs[i].policy, capacity)), i);
    }
    return text + "unset multiplot\n";
}

std::string content_of(std::FILE* file) {
    std::string text;
    std::rewind(file);
    char buffer[4096];
    while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, file)) {
        text.append(buffer, count);
    }
    return text;
}

Failure no_gnuplot(int error) {
    return {ExitCode::failed,
            error == ENOENT ? std::string("--plot needs gnuplot, which was not found: install it "
                                          "(Debian: apt-get install gnuplot-nox)")
                            : fmt::format("--plot: gnuplot: {}", std::strerror(error))};
}

Failure no_temporary_file() {
    return {ExitCode::failed, fmt::format("--plot: temporary file: {}", std::strerror(errno))};
}

/// What gnuplot draws when the commands are its standard input.
Result<std::string, Failure> run_gnuplot(std::string_view commands) {
    const File input(std::tmpfile());
    const File drawing(std::tmpfile());
    const File complaints(std::tmpfile());
    if (!input || !drawing || !complaints ||
        std::fwrite(commands.data(), 1, commands.size(), input.get()) != commands.size() ||
        std::fflush(input.get()) != 0) {
        return failure(no_temporary_file());
    }
    std::rewind(input.get());

    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ::fileno(input.get()), STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, ::fileno(drawing.get()), STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, ::fileno(complaints.get()), STDERR_FILENO);
    std::string name = "gnuplot";
    std::string settings = "-d";
    char* arguments[] = {name.data(), settings.data(), nullptr};
    ::pid_t child = 0;
    const int error = ::posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments, ::environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
        return failure(no_gnuplot(error));
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    std::string svg = content_of(drawing.get());
    svg.erase(svg.find_last_not_of('\n') + 1);
    // Its status does not tell when its output found no room.
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !svg.ends_with("</svg>")) {
        return failure(Failure{ExitCode::failed, fmt::format("--plot: gnuplot failed: {}",
                                                             content_of(complaints.get()))});
    }
    return svg + '\n';
}

}  // namespace

Result<std::string, Failure> draw(std::span<const ReplayRun> runs, std::string_view title) {
    return run_gnuplot(script(runs, title));
}

Result<std::string, Failure> draw(std::span<const RequestReplayRun> runs, std::string_view title) {
    return run_gnuplot(script(runs, title));
}

}  // namespace kvbm::tool
