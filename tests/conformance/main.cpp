// kvbm_conformance FILE...: replays recordings and prints where the library differs.
#include <iostream>
#include <string>
#include <vector>

import kvbm.conformance;

int main(int argc, char** argv) {
    const std::vector<std::string> files(argv + 1, argv + argc);
    return kvbm::conformance::run(files, std::cout, std::cerr);
}
