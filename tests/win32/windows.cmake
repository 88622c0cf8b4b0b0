# The tests as programs of Windows, run under Wine. Each that needs nothing of another system is
# here; the list below names those that do. Included by tests/CMakeLists.txt.
find_program(WINE wine)
find_program(WINESERVER wineserver)
set(others "^(documents|install|planted|scenario|tidy|tool|win32)/"
    # of threads, signals and memory mappings of POSIX
    "^base/mailbox|^os/(thread|error|clock)|^port/(epoll|uring|linux|conformance_canary)"
    "^sim/violation"
    # of descriptors, signals and files that only Linux' peers have
    "^net/(accept|backlog|close|connect|drain|engine_life|exhaustion|foreign_loop|listen|memory)_"
    "^net/(admission|newcomers|pause|proxy_protocol|proxy_waiting|send|watchdog)_|^admission/bans_"
    "^net/(age_heartbeat|calendar|interrupted|client|client_end|profile|time_limits|timer)_"
    "^net/(bandwidth|own_sockets|rate)_test")
list(JOIN others "|" others)

file(GLOB cmocka_files win32/cmocka/support/*.c)
add_library(win32_cmocka OBJECT ${cmocka_files})
target_include_directories(win32_cmocka PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}
    ${CMAKE_CURRENT_SOURCE_DIR}/win32/cmocka)

set(wine_environment "WINEPREFIX=${PROJECT_BINARY_DIR}/wineprefix;WINEDEBUG=-all"
    "WINEDLLOVERRIDES=mscoree,mshtml=" "SALLY_TRIAL_S=200")
# Wine's one server is all programs'; what takes seconds alone takes minutes on a busy machine.
set(SALLY_TEST_SECONDS 900)
if(WINE AND WINESERVER)
    # The server outlives its clients, so that each test finds it warm.
    add_test(NAME win32/wine COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/win32/wine.sh
        ${PROJECT_BINARY_DIR}/wineprefix)
    set_tests_properties(win32/wine PROPERTIES TIMEOUT 120 FIXTURES_SETUP wine
        ENVIRONMENT "${wine_environment}" LABELS code)
else()
    message(WARNING "wine was not found: the programs are built and their tests are skipped")
endif()

# win32_test(NAME TARGET [ARGUMENT]...)
function(win32_test name target)
    if(WINE AND WINESERVER)
        add_test(NAME ${name} COMMAND ${WINE} $<TARGET_FILE:${target}> ${ARGN})
    else()
        add_test(NAME ${name} COMMAND sh -c "echo 'skipped: wine is not installed'; exit 77")
    endif()
    set_tests_properties(${name} PROPERTIES TIMEOUT ${SALLY_TEST_SECONDS} SKIP_RETURN_CODE 77
        LABELS code FIXTURES_REQUIRED wine ENVIRONMENT "${wine_environment}")
endfunction()

file(GLOB_RECURSE programs CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} *_test.c)
list(FILTER programs EXCLUDE REGEX "${others}")
foreach(program ${programs})
    string(REGEX REPLACE "_test\\.c$" "" name ${program})
    string(REPLACE "/" "_" target "test_${name}")
    get_filename_component(folder ${program} DIRECTORY)
    add_executable(${target} ${program})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src)
    target_link_libraries(${target} PRIVATE win32_cmocka sallyport_internal ws2_32)
    string(REPLACE "/" "_" support "support_${folder}")
    file(GLOB support_files CONFIGURE_DEPENDS ${folder}/support/*.c)
    list(FILTER support_files EXCLUDE REGEX "/(linux|epoll|uring)[^/]*$|_(posix|linux)\\.c$")
    list(FILTER support_files EXCLUDE REGEX "/(deviant|guard)\\.c$")
    if(folder STREQUAL "net")
        list(FILTER support_files EXCLUDE REGEX
            "/(accept_|client_log|metered|proxy_house|timed)[^/]*$")
        list(APPEND support_files win32/support/posix_win32.c)
        target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/win32/posix)
        target_link_libraries(${target} PRIVATE pthread) # of the tests themselves
        # Every call goes through Wine's one server, so there are fewer, as under a sanitizer.
        target_compile_definitions(${target} PRIVATE STAGE_SLOW=1)
    endif()
    if(folder STREQUAL "trace")
        list(APPEND support_files net/support/raw.c win32/support/posix_win32.c)
        target_compile_definitions(${target} PRIVATE
            TRACE_FOLDER="${CMAKE_CURRENT_SOURCE_DIR}/trace")
    endif()
    if(name STREQUAL "port/torture") # see tests/CMakeLists.txt
        target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src/base/pool.c)
        set_source_files_properties(${PROJECT_SOURCE_DIR}/src/base/pool.c PROPERTIES
            COMPILE_DEFINITIONS SALLY_POOLS_OFF)
    endif()
    if(folder STREQUAL "sim")
        list(APPEND support_files win32/support/guard_win32.c)
    endif()
    if(support_files AND NOT TARGET ${support})
        add_library(${support} OBJECT ${support_files})
        target_include_directories(${support} PRIVATE ${PROJECT_SOURCE_DIR}/include
            ${PROJECT_SOURCE_DIR}/src ${CMAKE_CURRENT_SOURCE_DIR}
            ${CMAKE_CURRENT_SOURCE_DIR}/win32/cmocka)
        if(folder MATCHES "^(filter|net|trace)$")
            target_include_directories(${support} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/win32/posix)
            target_compile_definitions(${support} PRIVATE STAGE_SLOW=1)
        endif()
    endif()
    if(support_files)
        target_link_libraries(${target} PRIVATE ${support})
    endif()
    if(name STREQUAL "port/conformance")
        # No sanitizer is here, so one way of the port has its memory between forbidden pages, and
        # without pools, which would hand a block out again before anybody sees it written to.
        add_executable(test_port_guarded ${program} ${PROJECT_SOURCE_DIR}/src/base/pool.c)
        target_include_directories(test_port_guarded PRIVATE ${PROJECT_SOURCE_DIR}/src)
        target_link_libraries(test_port_guarded PRIVATE win32_cmocka sallyport_internal ws2_32
            ${support})
        set(program_of_iocp_packets test_port_guarded)
        foreach(column iocp iocp_packets iocp_plain sim)
            set(of_column ${target})
            if(DEFINED program_of_${column})
                set(of_column ${program_of_${column}})
            endif()
            win32_test(port/conformance_${column} ${of_column} "${column}__*")
            set_tests_properties(port/conformance_${column} PROPERTIES COST 50)
        endforeach()
    else()
        win32_test(${name} ${target})
    endif()
    if(name MATCHES "^net/(cross_thread|torture)$")
        set_tests_properties(${name} PROPERTIES COST 80)
    endif()
endforeach()

# The tool, driven by the same clients as on Linux: programs of this machine, not of Windows.
find_program(HOST_CC NAMES cc gcc)
find_program(PYTEST NAMES pytest-3 pytest)
if(WINE AND WINESERVER AND HOST_CC AND PYTEST)
    set(host_bin ${PROJECT_BINARY_DIR}/host-bin)
    add_custom_command(OUTPUT ${host_bin}/peer_rst_storm
        COMMAND ${CMAKE_COMMAND} -E make_directory ${host_bin}
        COMMAND ${HOST_CC} -std=c11 -D_GNU_SOURCE -O2 -pthread -o ${host_bin}/peer_rst_storm
            ${CMAKE_CURRENT_SOURCE_DIR}/scenario/peers/rst_storm.c
        DEPENDS scenario/peers/rst_storm.c)
    add_custom_target(win32_host_peers ALL DEPENDS ${host_bin}/peer_rst_storm)
    add_test(NAME win32/exe_scenario COMMAND ${PYTEST} -q -rs -p no:cacheprovider
        --rootdir ${CMAKE_CURRENT_SOURCE_DIR}/win32/scenario
        --junitxml ${PROJECT_BINARY_DIR}/scenario/exe.xml
        ${CMAKE_CURRENT_SOURCE_DIR}/win32/scenario/exe_scenario.py)
    set(scenario_environment ${wine_environment} "PYTHONDONTWRITEBYTECODE=1"
        "SALLYPORT_BIN=${host_bin}" "WINE_TOOL=$<TARGET_FILE:sallyport_tool>")
    set_tests_properties(win32/exe_scenario PROPERTIES TIMEOUT 1200 LABELS scenario COST 100
        FIXTURES_REQUIRED wine ENVIRONMENT "${scenario_environment}")
endif()
