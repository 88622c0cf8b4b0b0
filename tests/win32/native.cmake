# The completion port on a system that isn't Windows, against a fake of its kernel: so the state
# machine runs under the sanitizers. The whole library is compiled once more for it, since a socket
# is larger with that port. Included by tests/CMakeLists.txt.
file(GLOB native_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/base/*.c
    ${PROJECT_SOURCE_DIR}/src/os/*.c ${PROJECT_SOURCE_DIR}/src/port/iocp*.c)
list(FILTER native_sources EXCLUDE REGEX "/os/(win32_|linux_error)")
list(APPEND native_sources ${PROJECT_SOURCE_DIR}/src/os/win32_error.c
    ${PROJECT_SOURCE_DIR}/src/port/port.c ${PROJECT_SOURCE_DIR}/src/port/win32_sock.c
    ${PROJECT_SOURCE_DIR}/src/port/linux_sock.c)
file(GLOB native_support CONFIGURE_DEPENDS port/support/rules*.c port/support/stage*.c
    win32/support/*.c)
list(FILTER native_support EXCLUDE REGEX "_win32\\.c$")
add_library(sallyport_iocp_native OBJECT ${native_sources} ${native_support}
    port/support/trial.c port/support/trial_posix.c port/support/ground_posix.c
    port/support/guard_pages.c port/support/guard_pages_posix.c)
target_compile_definitions(sallyport_iocp_native PUBLIC PORT_OWN_WORDS=24)
target_include_directories(sallyport_iocp_native PUBLIC ${PROJECT_SOURCE_DIR}/include
    ${PROJECT_SOURCE_DIR}/src ${CMAKE_CURRENT_SOURCE_DIR})

# native_test(NAME FILE [ARGUMENT]...)
function(native_test name file)
    string(REPLACE "/" "_" target "test_${name}")
    add_executable(${target} ${file})
    target_link_libraries(${target} PRIVATE sallyport_iocp_native ${CMOCKA} Threads::Threads)
    add_test(NAME ${name} COMMAND ${target} ${ARGN})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${SALLY_TEST_SECONDS} SKIP_RETURN_CODE 77
        LABELS "code;threads")
    set(threaded ${threaded} ${target} PARENT_SCOPE)
endfunction()

set(arguments)
if(SALLY_SANITIZE STREQUAL "thread")
    set(arguments "*__P1?_*" "--without=__P15_")
elseif(SALLY_SANITIZE) # without sanitizers all columns; this one has most ends within calls
    set(arguments "iocp_prompt__*")
endif()
native_test(win32/conformance port/conformance_test.c ${arguments})
set_tests_properties(win32/conformance PROPERTIES COST 50)
file(GLOB native_programs CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR}
    win32/*_test.c)
foreach(program ${native_programs})
    string(REGEX REPLACE "_test\\.c$" "" name ${program})
    native_test(${name} ${program})
    if(name MATCHES "_fault$") # one thread, and many seconds with ThreadSanitizer
        set_tests_properties(${name} PROPERTIES LABELS code)
    endif()
endforeach()

# Scenario files on this port: the engine, too, has to be compiled with the larger socket.
file(GLOB trace_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/net/*.c
    ${PROJECT_SOURCE_DIR}/src/admission/*.c ${PROJECT_SOURCE_DIR}/src/filter/*.c
    ${PROJECT_SOURCE_DIR}/src/work/*.c
    ${PROJECT_SOURCE_DIR}/src/sim/*.c ${PROJECT_SOURCE_DIR}/src/port/sim*.c
    ${PROJECT_SOURCE_DIR}/src/port/win32_choose.c trace/support/*.c win32/trace/support/*.c)
list(FILTER trace_sources EXCLUDE REGEX "_win32\\.c$|columns_linux|bans_file")
set(native_objects "$<TARGET_OBJECTS:sallyport_iocp_native>")
add_executable(test_win32_trace trace/files_test.c ${trace_sources} net/support/raw.c
    "$<FILTER:${native_objects},EXCLUDE,/(rules|stage|ground|trial|guard)[^/]*$>")
target_include_directories(test_win32_trace PRIVATE ${PROJECT_SOURCE_DIR}/include
    ${PROJECT_SOURCE_DIR}/src ${CMAKE_CURRENT_SOURCE_DIR})
target_compile_definitions(test_win32_trace PRIVATE PORT_OWN_WORDS=24
    TRACE_FOLDER="${CMAKE_CURRENT_SOURCE_DIR}/trace")
target_link_libraries(test_win32_trace PRIVATE ${CMOCKA} Threads::Threads)
add_test(NAME win32/trace COMMAND test_win32_trace)
set_tests_properties(win32/trace PROPERTIES TIMEOUT ${SALLY_TEST_SECONDS} LABELS code)
native_test(win32/torture port/torture_test.c)
